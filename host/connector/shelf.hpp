// The connector files that lie in the configured directories: what may be installed, and what may
// not and why.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "connector/owners.hpp"
#include "contract/manifest.hpp"

namespace sluice::connector {

/// A file that was written to less than this ago may still be on its way here.
inline constexpr std::chrono::milliseconds kCopyQuiet{1000};
/// A damaged file that was written to less than this ago is a copy that stopped for a moment.
inline constexpr std::chrono::seconds kCopyPause{10};
/// Files of one directory that are looked at; more are named as an error and left alone.
inline constexpr std::size_t kShelfFilesMax = 1000;

enum class FileState {
  admitted,    ///< may be installed
  incomplete,  ///< still being copied, as far as one can tell; looked at again
  refused,     ///< will never do as it is
};
[[nodiscard]] std::string_view to_string(FileState state);

/// One *.so of a directory. Nothing of it ran.
struct ShelfFile {
  std::filesystem::path file;
  FileState state = FileState::refused;
  std::string sha256;  ///< empty while incomplete
  std::uint64_t size = 0;
  std::shared_ptr<const contract::Manifest> manifest;  ///< of an admitted one, also of one that
                                                       ///< was refused only when it was loaded
  std::vector<std::string> warnings;                   ///< allowed but unwise
  std::optional<Error> reason;                         ///< refused and incomplete
  /// Admitted, but another file has the same id, a version that is neither older nor newer
  /// (connector/version.hpp) and other content: that one's path. To install one of them one names
  /// the sha256.
  std::string conflict;
};

/// What lay there at one moment. Immutable.
struct Shelved {
  std::vector<ShelfFile> files;  ///< in the order of the directories, then by name
  std::vector<Error> errors;     ///< directories that cannot be read, or hold too much

  /// An admitted file with that content, or nullptr.
  [[nodiscard]] const ShelfFile* find(std::string_view sha256) const;
  /// Something is still being copied: look again soon.
  [[nodiscard]] bool unsettled() const;
};
using ShelvedPtr = std::shared_ptr<const Shelved>;

/// Looks, and remembers what it saw; a file whose size, times and inode are the same is not read
/// again. Owned by the registry. Any thread: lookers wait for each other, askers for nobody.
class Shelf {
 public:
  enum class Haste {
    patient,    ///< a file that was written to within kCopyQuiet is not judged yet
    immediate,  ///< judge what is there: at the start, and when a person asks
  };

  /// A directory that is not there yet is none: it is looked for each time. One that `owners` do
  /// not answer for is an error and nothing of it is looked at; a file that they do not answer for
  /// is refused.
  explicit Shelf(std::vector<std::filesystem::path> directories = {}, Owners owners = {});

  [[nodiscard]] const std::vector<std::filesystem::path>& directories() const {
    return directories_;
  }

  /// Reads what is new: blocking, so not on the loop. `now` is wall time, compared with the files'
  /// times. True when something is different from before.
  bool rescan(Micros now, Haste haste);

  /// As of the last rescan; empty before the first.
  [[nodiscard]] ShelvedPtr shelved() const;

  /// A content that passed inspection and was refused when it was loaded: refused until somebody
  /// looks with Haste::immediate.
  void refuse(const std::string& sha256, Error why);

 private:
  struct Stamp {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t modified_ns = 0, changed_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  struct Seen {
    Stamp stamp;
    ShelfFile file;
  };

  [[nodiscard]] static std::optional<Stamp> stamp_of(const std::filesystem::path& file);
  [[nodiscard]] ShelfFile look_at(const std::filesystem::path& file, const Stamp& stamp, Micros now,
                                  Haste haste) const;
  void look_into(const std::filesystem::path& directory, Micros now, Haste haste, Shelved& out);
  void apply_refusals(Shelved& out) const;
  static void find_conflicts(Shelved& out);

  const std::vector<std::filesystem::path> directories_;
  const Owners owners_;
  std::mutex looking_;  ///< one rescan at a time
  std::map<std::filesystem::path, Seen> seen_;
  mutable std::mutex mutex_;  ///< for what follows
  std::map<std::string, Error, std::less<>> refused_;
  ShelvedPtr shelved_;
};

}  // namespace sluice::connector
