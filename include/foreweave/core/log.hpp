#pragma once
// Logs of the library: tagged with the rank, on stderr, quiet by default (warnings and errors).

#include <string>

namespace foreweave::log {

enum class Level { trace, debug, info, warning, error, off };

/// All of these are thread safe.
void set_level(Level level);
/// The rank that stands before every line from now on.
void set_rank(int rank);

void debug(const std::string& text);
void info(const std::string& text);
void warning(const std::string& text);
void error(const std::string& text);

}  // namespace foreweave::log
