// One HTTP request and its answer, as the handlers see them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/places.hpp"
#include "base/async.hpp"
#include "base/error.hpp"

namespace sluice::api {

/// The body of a request, read as it arrives: for imports, which may be larger than memory.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  /// The next piece, at most 64 KiB; empty at the end. Throws Failure: request.cut when the client
  /// goes away or is too slow, request.malformed for broken chunks, request.too_large.
  virtual Task<std::string> next() = 0;
};

/// An answer's body that is made while it is sent: for what may be larger than memory.
class AnswerPieces {
 public:
  virtual ~AnswerPieces() = default;
  /// The next piece; empty at the end. What it throws breaks the answer off, which the client sees:
  /// it is never told the end. Called while the request is still there, and by nobody else
  /// meanwhile.
  virtual Task<std::string> next() = 0;
};

struct Route;

struct HttpRequest {
  std::string method;  ///< "GET"
  std::string path;    ///< as sent, without the query; for messages
  std::vector<std::string>
      segments;  ///< of the path: split first, then decoded, so %2F stays inside
  std::vector<std::pair<std::string, std::string>> query;  ///< decoded, in order; names may repeat
  std::string authorization;                               ///< header, or empty
  std::string accept;                                      ///< header, or empty
  std::string content_type;
  std::string content_encoding;                ///< header, or empty
  std::optional<std::int64_t> content_length;  ///< where it is announced
  std::string peer;
  BodyReader* body = nullptr;
  const Route* route = nullptr;  ///< once one is found; of the Api that handles it
  Places::Place place;           ///< until the answer is sent

  [[nodiscard]] std::optional<std::string> parameter(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::unique_ptr<AnswerPieces> pieces = nullptr;  ///< instead of `body`, which is empty then

  static HttpResponse json(const nlohmann::json& document, int status = 200);
  static HttpResponse text(std::string body,
                           std::string content_type = "text/plain; charset=utf-8");
};

/// Percent-decoding; '+' is a space in queries only. nullopt for a broken escape.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

/// UTF-8 without NUL: what PostgreSQL takes as text.
[[nodiscard]] bool is_storable_text(std::string_view text);

/// Fills path, segments and query from a request's target ("/v1/x?y=z", or with "http://host" in
/// front). Errors: request.malformed, request.not_text (not UTF-8, or with a NUL).
[[nodiscard]] Result<void> read_target(std::string_view target, HttpRequest& request);

}  // namespace sluice::api
