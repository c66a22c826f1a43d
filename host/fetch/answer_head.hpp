// The head of a vendor's answer, line by line: its status, its headers, and how one knows where it
// ends. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "contract/exchange.hpp"

namespace sluice::fetch {

/// What says that an answer is whole.
enum class Framing {
  unknown,         ///< its head has not ended
  no_body,         ///< 204, 304: the head is all of it
  length,          ///< Content-Length
  chunked,         ///< the last chunk and the trailer behind it
  connection_end,  ///< nothing but the end of the connection
};

/// Takes the lines of one transfer as they come, informational answers (1xx) first. Owner: the
/// transfer.
///
/// Refused, because nobody can say what such an answer holds: "fetch.transport.encoding" for a
/// content coding that was not offered, or more than one, on however many lines, and for a transfer
/// coding besides chunked; "fetch.transport.protocol" for lengths that differ or are no numbers. An
/// answer that is chunked has no length, whatever else it says (RFC 9112, 6.3).
class AnswerHead {
 public:
  enum class Part { head, body };  ///< what comes next

  /// A line with its line end. Folded lines (obsolete) belong to the header above them.
  [[nodiscard]] Result<Part> take(std::string_view line);

  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] Framing framing() const { return framing_; }
  /// Of Framing::length, in bytes as they come.
  [[nodiscard]] std::uint64_t length() const { return length_; }
  [[nodiscard]] bool is_compressed() const { return compressed_; }
  /// Of the final answer, when its head has ended.
  [[nodiscard]] contract::Headers& headers() { return headers_; }

 private:
  void begin(std::string_view status_line);
  [[nodiscard]] Result<Part> end();
  [[nodiscard]] Result<void> read_coding();
  [[nodiscard]] Result<void> read_framing();

  bool begins_ = true;  ///< the next line is a status line
  int status_ = 0;
  Framing framing_ = Framing::unknown;
  std::uint64_t length_ = 0;
  bool compressed_ = false;
  contract::Headers headers_;
};

}  // namespace sluice::fetch
