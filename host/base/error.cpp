#include "base/error.hpp"

namespace sluice {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::retry_later:
      return "retry_later";
    case ErrorKind::reconnect:
      return "reconnect";
    case ErrorKind::bad_input:
      return "bad_input";
    case ErrorKind::denied:
      return "denied";
    case ErrorKind::not_found:
      return "not_found";
    case ErrorKind::conflict:
      return "conflict";
    case ErrorKind::unsupported:
      return "unsupported";
    case ErrorKind::unknown_outcome:
      return "unknown_outcome";
    case ErrorKind::cancelled:
      return "cancelled";
    case ErrorKind::internal:
      return "internal";
  }
  return "internal";
}

std::string Error::describe() const {
  std::string text = code.empty() ? std::string(to_string(kind)) : code;
  text += ": ";
  text += message;
  if (!hint.empty()) {
    text += message.ends_with('.') ? " " : ". ";
    text += hint;
  }
  return text;
}

}  // namespace sluice
