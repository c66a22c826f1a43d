#include "contract/pattern.hpp"

#include <fmt/format.h>
#include <re2/re2.h>

namespace sluice::contract {
namespace {

/// For the program and for what a match remembers.
constexpr std::int64_t kMemoryBytesMax = 1 << 20;
/// Instructions times bytes that RE2's slowest way gets through in about a microsecond.
constexpr std::uint64_t kInstructionBytesAStep = 100;

re2::RE2::Options options() {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_never_capture(true);
  options.set_max_mem(kMemoryBytesMax);
  return options;
}

}  // namespace

Pattern::Pattern(std::string_view text) : text_(text) {
  if (text.size() > kBytesMax) {
    refused_ = fmt::format("a pattern of {} bytes; at most {} are allowed", text.size(), kBytesMax);
    return;
  }
  auto compiled = std::make_shared<re2::RE2>(re2::StringPiece(text.data(), text.size()), options());
  if (compiled->ok()) {
    compiled_ = std::move(compiled);
    return;
  }
  refused_ = fmt::format("'{}' is no regular expression that can be matched in linear time: {}",
                         text_, compiled->error());
}

bool Pattern::found_in(std::string_view text) const {
  return compiled_ != nullptr &&
         re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *compiled_);
}

std::uint64_t Pattern::size() const {
  return compiled_ == nullptr ? 0 : static_cast<std::uint64_t>(compiled_->ProgramSize());
}

std::uint64_t Pattern::cost(std::size_t text_bytes) const {
  return 1 + size() * (text_bytes + 1) / kInstructionBytesAStep;
}

}  // namespace sluice::contract
