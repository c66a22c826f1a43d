// The exit codes of sluiced and sluice (docs/operating/exit-codes.md); the numbers are those of
// sysexits.h.
#pragma once

#include "base/error.hpp"

namespace sluice {

enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 64,         ///< unknown command or option
  kExitBadInput = 65,      ///< the input given is wrong, or some of it was rejected
  kExitUnavailable = 69,   ///< a database, a host or an address cannot be reached or used
  kExitInternal = 70,      ///< a defect
  kExitCannotCreate = 73,  ///< the data directory or a file in it cannot be made
  kExitOutput = 74,        ///< what was asked for could not be written
  kExitTrouble = 75,       ///< it works, but something is not well
  kExitDenied = 77,        ///< permissions, a wrong token, a root key that does not match
  kExitConfig = 78,        ///< the configuration or the database's settings or schema do not fit
  kExitForced = 79,        ///< told to stop, and something did not end: sysexits.h has no such
};

/// What a program ends with after an error of this kind, where its code says nothing more exact.
[[nodiscard]] constexpr ExitCode exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::bad_input:
    case ErrorKind::not_found:
    case ErrorKind::conflict:
    case ErrorKind::unsupported:
      return kExitBadInput;
    case ErrorKind::denied:
      return kExitDenied;
    case ErrorKind::retry_later:
    case ErrorKind::reconnect:
    case ErrorKind::unknown_outcome:
      return kExitUnavailable;
    case ErrorKind::cancelled:
      return kExitOk;
    case ErrorKind::internal:
      return kExitInternal;
  }
  return kExitInternal;
}

}  // namespace sluice
