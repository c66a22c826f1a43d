// Connectors' files are loaded beside the loop: their initialisers are code that may not come back.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/async.hpp"
#include "base/error.hpp"
#include "connector/registry.hpp"
#include "sync/services.hpp"
#include "sync/step_pool.hpp"

namespace sluice::sync {

/// One content of a connector.
struct ConnectorFile {
  ConnectorFile() = default;  // no aggregate: handed to coroutines
  ConnectorFile(std::string id, std::string its_version, std::string content)
      : connector(std::move(id)), version(std::move(its_version)), sha256(std::move(content)) {}
  std::string connector, version, sha256;
};

/// Has the registry load on a thread of the step pool, whose watchdog it has: what is slow is shown
/// and logged, what does not come back is given up. Then the file is held, as one that ended the
/// host while it was loaded is (sync/deaths.hpp), and counted like that.
///
/// One file at a time. The dynamic loader has one lock, which an initialiser that does not return
/// keeps: until it does, nothing else can be loaded in this process, and whoever wants to hears so
/// at once. What is loaded already goes on, and waits for nobody. One loop; owned by Connections.
class Loader {
 public:
  explicit Loader(Services services);

  /// Loaded already, or loaded now. `owner` is who waits for it. Errors: those of
  /// Registry::obtain(); connector.held; connector.loading_stands (retry_later).
  Task<Result<std::shared_ptr<const connector::ConnectorCode>>> obtain(ConnectorFile file,
                                                                       StepOwner owner);

  /// connector.loading_stands, while a load that nobody waits for any more has not come back. What
  /// else does not come back meanwhile may wait for that same lock, as a thread's first use of a
  /// variable of its own does, and is not to be blamed.
  [[nodiscard]] std::optional<Error> stands() const;

 private:
  /// One load, shared with the thread that does it.
  struct Load {
    ConnectorFile file;
    Result<std::shared_ptr<const connector::ConnectorCode>> code =
        fail(ErrorKind::internal, "connector.load_failed", "its loading did not come to an end");
    std::atomic<bool> began = false, came_back = false;
  };
  /// What there is to say without loading.
  [[nodiscard]] std::optional<Result<std::shared_ptr<const connector::ConnectorCode>>> known(
      const ConnectorFile& file) const;
  Task<void> turn();

  Services services_;
  bool under_way_ = false;
  asio::steady_timer ended_;      ///< cancelled when one has ended
  std::shared_ptr<Load> stands_;  ///< nobody waits for it any more
};

}  // namespace sluice::sync
