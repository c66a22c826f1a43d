// What one side sends to PostgreSQL, kept, so that a plain program can send the same again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::bench {

/// Records every command that this process gives to libpq, one tape a connection, in the order in
/// which the connections were made. The program is linked with --wrap for the functions that send
/// (bench/CMakeLists.txt); without a recorder they only pass through. `fds` are files to append to,
/// one a connection at most.
void record_tapes(std::vector<int> fds);
/// Marks, on every tape, where the measured part begins.
void mark_tapes();
/// Writes out what is buffered.
void finish_tapes();

struct Replay {
  double seconds = 0;
  std::int64_t pages = 0;  ///< COMMITs
};

/// The floor: each tape is mapped, so that all parameters lie in memory in their wire form, and
/// played on a connection of its own by a thread of its own. The same commands, pipelines and
/// COPYs; nothing is fetched, parsed, checked or encoded, and of the results only errors are read.
/// Measured from the marks on, begun together.
Replay play_tapes(const std::string& conninfo, const std::vector<int>& fds);

}  // namespace sluice::bench
