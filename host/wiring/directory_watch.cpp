#include "wiring/directory_watch.hpp"

#include <Poco/Delegate.h>
#include <Poco/DirectoryWatcher.h>
#include <Poco/Exception.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "base/log.hpp"

namespace sluice::wiring {

struct DirectoryWatch::One {
  std::filesystem::path directory;
  const std::function<void()>* touched = nullptr;
  std::unique_ptr<Poco::DirectoryWatcher> watcher;
  ino_t inode = 0;  ///< of what is watched: a directory made anew under the name is another
  bool complained = false;

  void on_event(const void*, const Poco::DirectoryWatcher::DirectoryEvent&) { (*touched)(); }

  void begin() {
    struct stat facts {};
    const bool there = ::stat(directory.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
    if (watcher && (!there || facts.st_ino != inode)) watcher.reset();
    if (!there || watcher) return;
    try {
      watcher = std::make_unique<Poco::DirectoryWatcher>(directory.string());
      inode = facts.st_ino;
      for (auto* event : {&watcher->itemAdded, &watcher->itemRemoved, &watcher->itemModified,
                          &watcher->itemMovedFrom, &watcher->itemMovedTo})
        *event += Poco::delegate(this, &One::on_event);
      complained = false;
    } catch (const Poco::Exception& error) {
      watcher.reset();
      if (!complained) {
        log::warning("directory.unwatched",
                     {{"path", directory.string()}, {"error", error.displayText()}});
      }
      complained = true;
    }
  }
};

DirectoryWatch::DirectoryWatch(std::vector<std::filesystem::path> directories,
                               std::function<void()> touched)
    : touched_(std::move(touched)) {
  for (std::filesystem::path& directory : directories) {
    auto one = std::make_unique<One>();
    one->directory = std::move(directory);
    one->touched = &touched_;
    all_.push_back(std::move(one));
  }
}

DirectoryWatch::~DirectoryWatch() = default;

void DirectoryWatch::retry() {
  for (const auto& one : all_) one->begin();
}

std::size_t DirectoryWatch::watched() const {
  return static_cast<std::size_t>(std::count_if(
      all_.begin(), all_.end(), [](const auto& one) { return one->watcher != nullptr; }));
}

}  // namespace sluice::wiring
