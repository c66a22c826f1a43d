// Says when something happens in directories, as the kernel reports it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

namespace sluice::wiring {

/// Calls `touched` on a thread of its own for each file that appears, changes, goes or is renamed
/// in one of the directories: often, and without saying which, so look yourself. A hint, no
/// promise: a directory that is not there, a network file system, or a system that has no watches
/// left says nothing. So look now and then in any case, and call retry() then: it begins to watch
/// directories that have come since, and ends it for those that are gone.
///
/// Owned by main. Its threads begin with the first retry(). The destructor waits for them (a
/// fraction of a second); `touched` must not wait for whoever destroys it.
class DirectoryWatch {
 public:
  DirectoryWatch(std::vector<std::filesystem::path> directories, std::function<void()> touched);
  ~DirectoryWatch();
  DirectoryWatch(const DirectoryWatch&) = delete;
  DirectoryWatch& operator=(const DirectoryWatch&) = delete;

  void retry();
  /// Directories that are being watched.
  [[nodiscard]] std::size_t watched() const;

 private:
  struct One;
  std::function<void()> touched_;
  std::vector<std::unique_ptr<One>> all_;
};

}  // namespace sluice::wiring
