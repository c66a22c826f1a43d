// The connectors that this process has loaded.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "connector/session.hpp"
#include "connector/store.hpp"

namespace sluice::connector {

/// One file of a directory that was looked at: what it is, or why it would be refused. Nothing of
/// it ran.
struct Scanned {
  std::filesystem::path file;
  Result<Inspected> inspected;
};

/// Admits, loads and remembers connector versions, each once. Owned by main (wiring), outlives
/// every user. Any thread.
///
///   Registry registry{Store{state_directory / "connectors"}};
///   auto code = registry.load_file("/srv/connectors/stripe.so");   // at install
///   auto same = registry.load_stored(sha256);                      // after a restart, from
///   connector_version
class Registry {
 public:
  explicit Registry(Store store) : store_(std::move(store)) {}

  /// Copies the file into the store, loads that copy. The same content again answers the same code.
  /// Errors: those of Store::admit() and Library::load().
  Result<std::shared_ptr<const ConnectorCode>> load_file(const std::filesystem::path& file);

  /// A version that the store holds already. Errors: those of Store::open() and Library::load().
  Result<std::shared_ptr<const ConnectorCode>> load_stored(std::string_view sha256);

  /// Loaded already, or nullptr.
  [[nodiscard]] std::shared_ptr<const ConnectorCode> find(std::string_view sha256) const;

  /// Everything loaded, by connector id, then version, then hash.
  [[nodiscard]] std::vector<std::shared_ptr<const ConnectorCode>> list() const;

  /// Looks at each *.so of a directory, in the order of their names, and runs none. An unreadable
  /// directory is an error (connector.not_readable); an unreadable file is its own result.
  [[nodiscard]] static Result<std::vector<Scanned>> scan(const std::filesystem::path& directory);

  [[nodiscard]] const Store& store() const { return store_; }

 private:
  Result<std::shared_ptr<const ConnectorCode>> load(Result<Admitted> admitted);

  Store store_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const ConnectorCode>, std::less<>> loaded_;  // by sha256
};

}  // namespace sluice::connector
