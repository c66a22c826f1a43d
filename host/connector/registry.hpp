// The connectors that this process has loaded.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/thread_pool.hpp>

#include "base/async.hpp"
#include "base/error.hpp"
#include "connector/flight_recorder.hpp"
#include "connector/session.hpp"
#include "connector/shelf.hpp"
#include "connector/store.hpp"

namespace sluice::connector {

/// What an admin can do about a content that is held.
inline constexpr std::string_view kHeldHint =
    "Install a version that mends it; an operator has this one tried again: sluice connector "
    "approve";

/// One file of a directory that was looked at once: what it is, or why it would be refused. Nothing
/// of it ran. (The shelf remembers; this does not.)
struct Scanned {
  std::filesystem::path file;
  Result<Inspected> inspected;
};

/// Admits, loads and remembers connector versions, each once. Owned by main (wiring), outlives
/// every user. Any thread.
///
///   Registry registry{Store{state_directory / "connectors"}, {"/srv/connectors"}};
///   registry.shelf().rescan(now, Shelf::Haste::immediate);    // what could be installed
///   auto code = registry.obtain(sha256);                      // at install, and after a restart
///
/// A connector's code is mapped, and its initialisers run, when it is first obtained: dropping a
/// file into a directory runs nothing of it.
class Registry {
 public:
  /// `recorder`, when there is one, outlives it and all sessions.
  explicit Registry(Store store, std::vector<std::filesystem::path> directories = {},
                    Owners owners = {}, FlightRecorder* recorder = nullptr)
      : store_(std::move(store)),
        shelf_(std::move(directories), std::move(owners)),
        recorder_(recorder) {}
  ~Registry();

  /// Copies the file into the store, loads that copy. The same content again answers the same code.
  /// Errors: those of Store::admit() and Library::load().
  Result<std::shared_ptr<const ConnectorCode>> load_file(const std::filesystem::path& file);

  /// A version that the store holds already. Errors: those of Store::open() and Library::load().
  Result<std::shared_ptr<const ConnectorCode>> load_stored(std::string_view sha256);

  /// The version with that content, from wherever this host has it: loaded, in the store, or on the
  /// shelf (then it goes into the store first, and stays usable when its file is removed). A copy
  /// in the store that is damaged is replaced by the shelf's. For a content that is installed, or
  /// that was chosen on the shelf: by today's rules it is not judged again. Reads and maps a file
  /// at most once. Runs its initialisers, which may not return: not for the loop (sync/loader.hpp).
  /// Errors: connector.not_on_this_host (not_found), and those of load_file() and open().
  Result<std::shared_ptr<const ConnectorCode>> obtain(std::string_view sha256);
  /// Not to be loaded any more: `why`, which load_file() and obtain() answer with then
  /// ("connector.held"). What is loaded already goes on.
  void hold(std::string sha256, std::string why);
  void release(std::string_view sha256);
  /// The error of a content that is held, and is not loaded.
  [[nodiscard]] std::optional<Error> held(std::string_view sha256) const;
  /// The store or the shelf has it, or it is loaded; nothing is read.
  [[nodiscard]] bool has(std::string_view sha256) const;

  /// What lies in the directories.
  [[nodiscard]] Shelf& shelf() { return shelf_; }
  [[nodiscard]] const Shelf& shelf() const { return shelf_; }
  /// Shelf::rescan() on a thread of the registry's own, so that the loop goes on.
  Task<bool> rescan(Micros now, Shelf::Haste haste);

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
  /// What there is to say of it without looking: its code, or why it is not loaded.
  [[nodiscard]] std::optional<Result<std::shared_ptr<const ConnectorCode>>> known(
      std::string_view sha256) const;
  /// Where a file with that content lies, also one whose manifest is refused by today's rules.
  [[nodiscard]] std::optional<std::filesystem::path> on_shelf(std::string_view sha256) const;
  Task<bool> rescan_here(Micros now, Shelf::Haste haste);

  Store store_;
  Shelf shelf_;
  FlightRecorder* recorder_;
  boost::asio::thread_pool reader_{1};
  std::mutex loading_;        ///< for as long as an initialiser takes
  mutable std::mutex mutex_;  ///< for what follows, never for long
  std::map<std::string, std::shared_ptr<const ConnectorCode>, std::less<>> loaded_;  // by sha256
  std::map<std::string, std::string, std::less<>> held_;  // why, by sha256
  std::map<std::string, Error, std::less<>> unfit_;       // mapped once, and refused then
};

}  // namespace sluice::connector
