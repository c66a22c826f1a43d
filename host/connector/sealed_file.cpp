#include "connector/sealed_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/descriptor.hpp"

namespace sluice::connector {
namespace {

/// Of 249 that the system takes.
constexpr std::size_t kNameBytesMax = 200;
/// Younger than the C library's headers. To be mapped is all that it is for, never to be executed;
/// a system may insist that this is said.
constexpr unsigned kNoExecSeal = 0x0008U;

int new_file(const std::string& name) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int descriptor = ::memfd_create(name.c_str(), kFlags | kNoExecSeal);
  if (descriptor >= 0 || errno != EINVAL) return descriptor;
  return ::memfd_create(name.c_str(), kFlags);
}

}  // namespace

SealedFile::SealedFile(int descriptor, std::string name)
    : descriptor_(descriptor),
      name_(std::move(name)),
      path_(fmt::format("/proc/self/fd/{}", descriptor)) {}

SealedFile::~SealedFile() {
  if (!kept_) ::close(descriptor_);
}

Result<std::shared_ptr<const SealedFile>> SealedFile::of(ByteView content, std::string name) {
  if (name.size() > kNameBytesMax) name.resize(kNameBytesMax);
  const auto failed = [&name](int error) {
    return fail(ErrorKind::internal, "connector.store_memory",
                fmt::format("{} cannot be kept in memory to be loaded from there: {}", name,
                            std::generic_category().message(error)),
                "Check the host's limits of memory and open files, and that memfd_create() is "
                "allowed to it");
  };
  const int descriptor = new_file(name);
  if (descriptor < 0) return failed(errno);
  std::shared_ptr<const SealedFile> file(new SealedFile(descriptor, std::move(name)));
  constexpr int kSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
  if (!write_all(descriptor, content) || ::fcntl(descriptor, F_ADD_SEALS, kSeals) != 0) {
    const int error = errno;
    name = file->name();
    return failed(error);
  }
  return file;
}

}  // namespace sluice::connector
