#include "comm/owned_message.hpp"

#include "foreweave/core/error.hpp"

namespace foreweave::comm {

void require_size(const Message& message, HubId peer) {
  if (message.head.size() <= max_head_bytes && message.payload.size() <= max_payload_bytes) return;
  throw Error(ErrorCategory::argument, "send a message to hub " + std::to_string(peer),
              "a head of " + std::to_string(message.head.size()) + " bytes (at most " +
                  std::to_string(max_head_bytes) + ") and a payload of " + std::to_string(message.payload.size()) +
                  " (at most " + std::to_string(max_payload_bytes) + "): send it in several messages");
}

void own_payload(Message& message) {
  if (message.owner || message.payload.empty()) return;
  auto copy = std::make_shared<const Bytes>(message.payload.begin(), message.payload.end());
  message.payload = *copy;
  message.owner = std::move(copy);
}

}  // namespace foreweave::comm
