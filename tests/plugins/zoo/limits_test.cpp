// The contract's README tells authors the limits: the same that the sink keeps.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "connector/sink.hpp"

namespace sluice::connector {
namespace {

using ::testing::HasSubstr;

/// "1,024"
std::string counted(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), ",");
  return text;
}

/// "16 KiB"; what is no whole number of these is told in bytes.
std::string sized(std::uint64_t bytes) {
  if (bytes % (1 << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  if (bytes % (1 << 10) == 0 && bytes > 4096) return fmt::format("{} KiB", bytes >> 10);
  return counted(bytes) + " bytes";
}

TEST(Limits, the_contracts_readme_names_each_that_the_sink_keeps) {
  std::ifstream file(SLUICE_SOURCE_DIR "/plugin-api/README.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t begin = text.find("## Limits\n");
  ASSERT_NE(begin, std::string::npos);
  const std::string limits = text.substr(begin, text.find("\n## ", begin + 1) - begin);
  const std::string said[] = {
      fmt::format("| {} (`SLUICE_REQUESTS_OUTSTANDING_MAX`) |", SLUICE_REQUESTS_OUTSTANDING_MAX),
      fmt::format("target {}; {} headers, {}; body {} |", sized(kRequestTargetBytesMax),
                  kRequestHeadersMax, sized(kRequestHeaderBytesMax), sized(kRequestBodyBytesMax)),
      fmt::format("| 1 to {} of UTF-8", sized(kExternalIdBytesMax)),
      fmt::format("| {} together;", sized(kRecordBytesMax)),
      fmt::format("a source URL of {}; {} named values |", sized(kSourceUrlBytesMax),
                  counted(kNamedValuesMax)),
      fmt::format("| {} ids |", counted(kSetIdsMax)),
      fmt::format("after STOP {} records and {} more;", counted(kRecordsAfterStopMax),
                  sized(kBytesAfterStopMax)),
      fmt::format("| 1 to {} |", sized(SLUICE_CHECKPOINT_BYTES_MAX)),
      fmt::format("| a result | {} |", sized(kResultBytesMax)),
      fmt::format("| {} of message, {} of code |", sized(kFailureMessageBytesMax),
                  kVendorCodeBytesMax),
      fmt::format("| {} a step, {} each |", kLogLinesPerStepMax, sized(kLogLineBytesMax)),
      fmt::format("| a manifest | {},", sized(SLUICE_MANIFEST_BYTES_MAX)),
  };
  for (const std::string& one : said) EXPECT_THAT(limits, HasSubstr(one));
}

}  // namespace
}  // namespace sluice::connector
