// Plays the host for one session of a connector, through nothing but the C contract.
#pragma once

#include <sluice/connector.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "replay/case_file.hpp"

namespace sluice::replay {

/// A connector's file, mapped for the life of the process.
class Library {
 public:
  explicit Library(const std::string& path);
  [[nodiscard]] const sluice_entry_v1& entry() const { return *entry_; }
  [[nodiscard]] const nlohmann::json& manifest() const { return manifest_; }

 private:
  const sluice_entry_v1* entry_ = nullptr;
  nlohmann::json manifest_;
};

/// How the session is driven; what comes out must not depend on it.
struct Drive {
  std::uint32_t records_per_step_max = 1'000'000;
  bool new_thread_each_step = false;
  std::string checkpoint;  ///< instead of the case's own
  bool from_checkpoint = false;
};

/// One line of what came out, and whether it is a record, notice or set (what a resumed run must
/// repeat).
struct Line {
  std::string text;
  bool is_data = false;
  std::string checkpoint;  ///< the bytes, for lines that are checkpoints
};

struct Outcome {
  std::vector<Line> lines;
  std::vector<std::string> broken_rules;  ///< of the contract, each with its id; empty is good
  [[nodiscard]] std::string text() const;
};

/// Runs the case to its end, closes the session. Never more than a bounded number of steps.
Outcome run(const Library& library, const Case& test_case, const Drive& drive);

}  // namespace sluice::replay
