// How anything in Sluice fails: a kind that names the caller's next move, a stable code, and three
// sentences for a person: what is wrong, where, and what to do.
#pragma once

#include <expected>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice {

/// Named after what the caller should do next.
enum class ErrorKind {
  retry_later,      ///< the same call may succeed later (busy, rate limited, deadlock)
  reconnect,        ///< the connection is gone; nothing was done
  bad_input,        ///< the caller's input is wrong; the same call fails again
  denied,           ///< not allowed with these credentials
  not_found,        ///< no such thing
  conflict,         ///< it exists already, or changed under the caller
  unsupported,      ///< this build or this connector cannot do it
  unknown_outcome,  ///< sent, but the answer was lost: look before doing it again
  cancelled,        ///< stopped on request
  internal,         ///< a bug or a broken environment
};

[[nodiscard]] std::string_view to_string(ErrorKind kind);

/// An expected failure, as a value. Never carries a secret or a vendor payload.
struct Error {
  ErrorKind kind = ErrorKind::internal;
  std::string code;     ///< stable, dotted, for programs and the docs: "config.unknown_key"
  std::string message;  ///< what and where: "sluice.json: unknown key 'databse.url'"
  std::string hint;     ///< what to do; may be empty

  Error() = default;
  Error(ErrorKind k, std::string c, std::string m, std::string h = {})
      : kind(k), code(std::move(c)), message(std::move(m)), hint(std::move(h)) {}

  /// "code: message. hint" on one line, for logs and the command line.
  [[nodiscard]] std::string describe() const;
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorKind kind, std::string code,
                                                 std::string message, std::string hint = {}) {
  return std::unexpected<Error>(Error(kind, std::move(code), std::move(message), std::move(hint)));
}

/// A surprise: thrown, caught once (in sync/ per run, in api/ per request, in main).
class Failure : public std::runtime_error {
 public:
  explicit Failure(Error error) : std::runtime_error(error.describe()), error_(std::move(error)) {}
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  Error error_;
};

/// Takes the value out of a Result whose failure would be a surprise here.
template <class T>
T expect(Result<T>&& result) {
  if (!result) throw Failure(std::move(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace sluice
