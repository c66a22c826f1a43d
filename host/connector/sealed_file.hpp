// A connector's bytes where nobody can change them any more.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace sluice::connector {

/// A file in memory that is sealed: it has exactly the bytes that were judged, whoever writes to
/// the file that they were read from, or puts another one in its place. Immutable; any thread.
class SealedFile {
 public:
  /// `name` is what /proc/PID/maps, profilers and debuggers show in the place of a path. Error:
  /// connector.store_memory (the system gives no such file, or has no room).
  static Result<std::shared_ptr<const SealedFile>> of(ByteView content, std::string name);
  ~SealedFile();
  SealedFile(const SealedFile&) = delete;
  SealedFile& operator=(const SealedFile&) = delete;

  /// For the dynamic loader of this process.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& name() const { return name_; }

  /// It is mapped, and stays so until the process ends. The loader knows what it has mapped by the
  /// path alone, so no other file may ever come to have that one: the descriptor stays open, too.
  void keep_for_good() const { kept_ = true; }

 private:
  SealedFile(int descriptor, std::string name);

  const int descriptor_;
  const std::string name_, path_;
  mutable std::atomic<bool> kept_ = false;
};

}  // namespace sluice::connector
