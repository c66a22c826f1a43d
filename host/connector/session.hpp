// What the rest of the host sees of a connector: its code, and one running operation of it.
#pragma once

#include <memory>
#include <string>

#include "base/error.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"

namespace sluice::connector {

/// One operation of a connector, driven step by step: START first, then what the last result asked
/// for.
///
///   auto session = code->open(args);
///   contract::Input input{.kind = contract::InputKind::start, .now_ms = …, .entropy = …};
///   for (;;) {
///     Result<contract::StepOutput> output = (*session)->step(input);
///     if (!output) …                     // the connector broke the contract: this session is over
///     …store output->page and output->checkpoint in one transaction, perform output->requests…
///     …input = the response | resume after `more` | timer after `sleep`; stop at done and failed
///   }
///
/// Synchronous, and quick: a step only computes, it never waits. Not thread-safe, but successive
/// calls may come from different threads. Destroying it closes it, in any state. It keeps the
/// connector's code and manifest. This is the seam at which a runner process takes over later: it
/// implements this same class.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;

  /// Runs one step. The output has passed the contract's checks as a whole; records that broke only
  /// a rule of their own are in page.rejected. `input.response` is needed until the call returns.
  /// Errors: "connector.contract" (internal): the connector broke the rule named in the message
  /// (SLP-…); nothing of this step counts, and the session has ended. "connector.session_state"
  /// (internal): the caller's input does not fit the state, e.g. a response to no outstanding
  /// request; the session goes on.
  virtual Result<contract::StepOutput> step(const contract::Input& input) = 0;

  /// True after done, failed or an error of the connector: no further step.
  [[nodiscard]] virtual bool ended() const = 0;
};

/// One version of one connector, ready to run. Immutable; any thread. Shared, because sessions and
/// callers keep it at once; its code stays mapped for the process's life in any case (SLP-L04).
class ConnectorCode {
 public:
  ConnectorCode() = default;
  ConnectorCode(const ConnectorCode&) = delete;
  ConnectorCode& operator=(const ConnectorCode&) = delete;
  virtual ~ConnectorCode() = default;

  [[nodiscard]] virtual const contract::Manifest& manifest() const = 0;
  /// Of the file, 64 lower-case hex digits: this version's identity.
  [[nodiscard]] virtual const std::string& sha256() const = 0;

  /// Starts a session; nothing runs at the vendor before its first step. Copies `args`. The
  /// connector is asked for `page_size` and the limits, and the host holds it to them. Errors:
  /// connector.operation_unsupported (unsupported), connector.bad_args (bad_input: unknown stream
  /// or type, ids, limits), connector.checkpoint_format (bad_input: this version cannot read that
  /// checkpoint; read the stream again from its start), connector.contract (internal).
  virtual Result<std::unique_ptr<Session>> open(const contract::SessionArgs& args) const = 0;
};

}  // namespace sluice::connector
