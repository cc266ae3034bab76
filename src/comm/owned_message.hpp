#pragma once
// What every transport demands of a message before it queues it.

#include "foreweave/comm/transport.hpp"

namespace foreweave::comm {

/// Throws Error(argument) when head or payload is above its limit.
void require_size(const Message& message, HubId peer);
/// Copies a payload that has no owner, so that it outlives the call.
void own_payload(Message& message);

}  // namespace foreweave::comm
