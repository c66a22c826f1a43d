#include "connector/store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/descriptor.hpp"
#include "base/log.hpp"
#include "connector/owners.hpp"

namespace sluice::connector {
namespace {

/// Another host may be writing to the same directory; nobody takes so long.
constexpr std::chrono::hours kLeftoverAge{1};

std::string last_error() { return std::generic_category().message(errno); }

std::unexpected<Error> not_readable(const std::filesystem::path& file, int error) {
  if (error == ENOENT) {
    return fail(ErrorKind::not_found, "connector.not_found",
                fmt::format("{}: there is no such file", file.string()));
  }
  if (error == ELOOP) {
    return fail(ErrorKind::bad_input, "connector.not_regular",
                fmt::format("{} is a symbolic link", file.string()),
                "Name the connector's file itself");
  }
  return fail(ErrorKind::bad_input, "connector.not_readable",
              fmt::format("{}: {}", file.string(), std::generic_category().message(error)),
              "Give the host's user permission to read it");
}

std::unexpected<Error> too_large(const std::filesystem::path& file) {
  return fail(ErrorKind::bad_input, "connector.too_large",
              fmt::format("{} is larger than {} bytes", file.string(), kConnectorFileBytesMax),
              "Strip the connector (strip --strip-debug)");
}

std::unexpected<Error> store_failed(const std::filesystem::path& where, std::string why) {
  return fail(ErrorKind::internal, "connector.store",
              fmt::format("the connector store: {}: {}", where.string(), why),
              "Check that the directory exists, is writable for the host and has space");
}

std::string sha256_of(ByteView content) {
  std::array<std::uint8_t, crypto_hash_sha256_BYTES> digest{};
  crypto_hash_sha256(digest.data(), content.data(), content.size());
  return to_hex(digest);
}

std::unexpected<Error> foreign(const std::filesystem::path& directory, const std::string& why) {
  return fail(ErrorKind::denied, "connector.store_foreign",
              fmt::format("the connector store {} {}: whoever can write there is not to have a say "
                          "in what this host loads",
                          directory.string(), why),
              fmt::format("Move it away: it is made anew from the files in connectors.directories. "
                          "Or, if it is right: chown -R {} {}",
                          user_name(::geteuid()), directory.string()));
}

/// Durable and whole, or not there at all.
Result<void> write_once(const std::filesystem::path& path, ByteView content) {
  std::string temporary = path.string() + ".XXXXXX";
  const Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file.is_open()) return store_failed(path.parent_path(), last_error());
  const bool written = write_all(file.get(), content) && ::fchmod(file.get(), 0444) == 0 &&
                       ::fsync(file.get()) == 0 && ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!written) {
    const std::string why = last_error();
    ::unlink(temporary.c_str());
    return store_failed(path, why);
  }
  const Descriptor directory(
      ::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.is_open() || ::fsync(directory.get()) != 0) {
    return store_failed(path.parent_path(), last_error());
  }
  return {};
}

/// "<64 hex digits>.so.XXXXXX", as write_once() calls a file before it is whole.
bool is_temporary(std::string_view name) {
  constexpr std::size_t kStem = 64, kSize = kStem + 4 + 6;
  return name.size() == kSize && name.substr(kStem, 4) == ".so." &&
         name.find_first_not_of("0123456789abcdef") == kStem;
}

Result<Admitted> judge(const Bytes& content, const std::filesystem::path& origin,
                       const std::filesystem::path& directory, contract::Admission admission) {
  Result<Inspected> inspected = inspect(content, admission);
  if (!inspected) {
    Error error = std::move(inspected.error());
    error.message = fmt::format("{}: {}", origin.string(), error.message);
    return std::unexpected(std::move(error));
  }
  Admitted admitted;
  admitted.sha256 = sha256_of(content);
  admitted.path = directory / (admitted.sha256 + ".so");
  admitted.size = content.size();
  admitted.inspected = std::move(*inspected);
  const contract::Manifest& manifest = admitted.inspected.manifest;
  auto sealed = SealedFile::of(content, fmt::format("{}-{}-{}.so", manifest.id, manifest.version,
                                                    admitted.sha256.substr(0, 12)));
  if (!sealed) return std::unexpected(std::move(sealed.error()));
  admitted.sealed = std::move(*sealed);
  return admitted;
}

}  // namespace

Result<Bytes> read_connector_file(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.is_open()) return not_readable(path, errno);
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return not_readable(path, errno);
  if (!S_ISREG(facts.st_mode)) {
    return fail(ErrorKind::bad_input, "connector.not_regular",
                fmt::format("{} is no regular file", path.string()),
                "Name the connector's file itself");
  }
  if (static_cast<std::uint64_t>(facts.st_size) > kConnectorFileBytesMax) return too_large(path);
  // What counts is what is read, not what was promised: the file may grow or shrink meanwhile.
  Bytes content(static_cast<std::size_t>(facts.st_size));
  std::size_t filled = 0;
  for (;;) {
    if (filled == content.size()) content.resize(content.size() + 64 * 1024);
    const ssize_t got = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return not_readable(path, errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
    if (filled > kConnectorFileBytesMax) return too_large(path);
  }
  content.resize(filled);
  return content;
}

Store::Store(std::filesystem::path directory)
    : directory_(std::filesystem::absolute(std::move(directory)).lexically_normal()) {}

Result<void> Store::check() const {
  const Descriptor opened(
      ::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!opened.is_open() && errno == ENOENT) return {};
  if (!opened.is_open() && errno == ENOTDIR) return foreign(directory_, "is no directory");
  struct stat facts {};
  if (!opened.is_open() || ::fstat(opened.get(), &facts) != 0)
    return store_failed(directory_, last_error());
  if (facts.st_uid != ::geteuid())
    return foreign(directory_, "belongs to " + user_name(facts.st_uid));
  if ((facts.st_mode & 07777) == 0700) return {};
  // By the descriptor: what was looked at is what is changed.
  const std::string by_descriptor = fmt::format("/proc/self/fd/{}", opened.get());
  if (::chmod(by_descriptor.c_str(), 0700) != 0) return store_failed(directory_, last_error());
  return {};
}

Result<Admitted> Store::admit(const std::filesystem::path& file,
                              contract::Admission admission) const {
  Result<Bytes> content = read_connector_file(file);
  if (!content) return std::unexpected(std::move(content.error()));
  Result<Admitted> admitted = judge(*content, file, directory_, admission);
  if (!admitted) return admitted;
  std::error_code failed;
  std::filesystem::create_directories(directory_.parent_path(), failed);
  if (failed) return store_failed(directory_, failed.message());
  if (::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST)
    return store_failed(directory_, last_error());
  if (auto ours = check(); !ours) return std::unexpected(std::move(ours.error()));
  if (std::filesystem::exists(std::filesystem::symlink_status(admitted->path, failed))) {
    Result<Admitted> stored = open(admitted->sha256);
    if (stored || stored.error().code != "connector.store_damaged") return stored;
    log::warning("connector.store_healed",
                 {{"file", admitted->path.string()}, {"by", file.string()}});
  }
  if (auto written = write_once(admitted->path, *content); !written) {
    return std::unexpected(std::move(written.error()));
  }
  return admitted;
}

Result<Admitted> Store::open(std::string_view sha256) const {
  if (sha256.size() != 64 ||
      sha256.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return fail(ErrorKind::bad_input, "connector.not_found",
                "a stored connector is named by 64 lower-case hex digits");
  }
  if (auto ours = check(); !ours) return std::unexpected(std::move(ours.error()));
  const std::filesystem::path path = directory_ / fmt::format("{}.so", sha256);
  Result<Bytes> content = read_connector_file(path);
  if (!content) return std::unexpected(std::move(content.error()));
  if (sha256_of(*content) != sha256) {
    return fail(ErrorKind::internal, "connector.store_damaged",
                fmt::format("{} does not have the content that its name says", path.string()),
                "Someone changed the store, or its disk did. Copy the connector's file into a "
                "directory of connectors.directories on this host: it is taken from there");
  }
  return judge(*content, path, directory_, contract::Admission::before);
}

std::size_t Store::remove_leftovers(Micros now) const {
  std::size_t removed = 0;
  std::error_code failed;
  std::filesystem::directory_iterator entries(directory_, failed);
  for (const std::filesystem::directory_iterator end; !failed && entries != end;
       entries.increment(failed)) {
    const std::filesystem::path& path = entries->path();
    struct stat facts {};
    if (!is_temporary(path.filename().string()) || ::lstat(path.c_str(), &facts) != 0 ||
        !S_ISREG(facts.st_mode))
      continue;
    const auto age = now - std::chrono::seconds(facts.st_mtim.tv_sec);
    if (age >= kLeftoverAge && ::unlink(path.c_str()) == 0) ++removed;
  }
  if (removed > 0) log::info("connector.leftovers", {{"removed", removed}});
  return removed;
}

}  // namespace sluice::connector
