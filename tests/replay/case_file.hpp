// A case: what the connector is asked, what the vendor answers, and what must come of it (README.md
// has the format).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace sluice::replay {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// One recorded answer. The same target may be answered several times; the last answer then
/// repeats.
struct Exchange {
  std::string target;  ///< as in "/v1/customers?limit=100", decoded for reading
  int status = 200;    ///< 0: no answer; body says why
  Headers headers;
  std::string body;
};

struct Case {
  std::filesystem::path path;
  std::string operation = "read";
  std::string stream;
  std::string type;
  std::vector<std::string> ids;
  std::string config = "{}";
  std::string checkpoint;
  std::uint32_t checkpoint_format = 1;
  std::uint32_t page_size = 0;
  std::int64_t now_ms = 0;
  bool resumes = true;  ///< also resumed from each of its checkpoints
  std::vector<Exchange> exchanges;
  std::string expected;  ///< the trace, one line each
};

/// Throws std::runtime_error with file and line.
Case read_case(const std::filesystem::path& path);
/// Writes the file anew with `trace` as what is expected.
void update_case(const Case& test_case, const std::string& trace);

}  // namespace sluice::replay
