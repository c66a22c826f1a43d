// What does the boundary between host and connector cost, per page and per record, in process? The
// connector puts out pages of records that it holds ready; the host's sink checks and copies them.
#include <fmt/format.h>
#include <malloc.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "bench/parts/child.hpp"
#include "bench/parts/figures.hpp"
#include "connector/registry.hpp"

namespace {

using namespace sluice;
using std::chrono::steady_clock;

double nanoseconds(steady_clock::duration span) {
  return std::chrono::duration<double, std::nano>(span).count();
}

constexpr int kOne = 1;

/// Nanoseconds a step that puts out `records` records of 20 attributes, over `steps` steps.
double measure(const connector::ConnectorCode& code, int records, int steps, std::size_t& bytes) {
  nlohmann::json config = nlohmann::json::object();
  config["records"] = records;
  config["steps"] = steps;
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.config_json = config.dump();
  args.stream = "items";
  const std::unique_ptr<connector::Session> session = expect(code.open(args));
  contract::Input input;
  expect(session->step(input));  // builds the records
  input.kind = contract::InputKind::resume;
  const auto begun = steady_clock::now();
  for (int step = 0; step < steps; ++step) {
    const contract::StepOutput output = expect(session->step(input));
    if (output.page.records.size() != static_cast<std::size_t>(records))
      throw std::runtime_error("a step put out another number of records");
    bytes = output.page.byte_size();
  }
  return nanoseconds(steady_clock::now() - begun) / steps;
}

int run(int argc, char** argv) {
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);  // as host/main.cpp
  ::mallopt(M_TRIM_THRESHOLD, 128 << 20);
  int records = 1000, steps = 2000, turns = 5;
  CLI::App app("The cost of the boundary between host and connector");
  app.add_option("--records", records, "records of a page, at least 2")
      ->check(CLI::Range(kOne + 1, 10'000));
  app.add_option("--steps", steps, "pages of a turn");
  app.add_option("--turns", turns, "the median of so many counts");
  CLI11_PARSE(app, argc, argv);
  std::string directory = (std::filesystem::temp_directory_path() / "sluice-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) throw std::runtime_error("no directory");
  connector::Registry registry{connector::Store(directory)};
  const auto code = expect(registry.load_file(SLUICE_BENCH_BOUNDARY));
  std::vector<double> full, small;
  std::size_t bytes = 0, none = 0;
  for (int turn = 0; turn < turns; ++turn) {
    full.push_back(measure(*code, records, steps, bytes));
    small.push_back(measure(*code, kOne, steps * 10, none));
  }
  const double per_page = bench::median(full);
  const double per_small_page = bench::median(small);
  const double per_record = (per_page - per_small_page) / (records - kOne);
  fmt::print("a page of {} records ({} bytes of text): {:.0f} ns, of {}: {:.0f} ns\n", records,
             bytes, per_page, kOne, per_small_page);
  nlohmann::ordered_json line = nlohmann::ordered_json::object();
  line["bench"] = "plugin";
  line["ns_per_record"] = std::round(per_record * 10) / 10;
  line["ns_per_page"] = std::round(per_small_page - kOne * per_record);
  line["attributes"] = 20;
  line["records_per_page"] = records;
  line["text_bytes_per_record"] = bytes / static_cast<std::size_t>(records);
  line["ns_per_full_page"] = std::round(per_page);
  fmt::print("{}\n", line.dump());
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_plugin: {}\n", error.what());
    return 1;
  }
}
