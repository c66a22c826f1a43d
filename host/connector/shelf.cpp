#include "connector/shelf.hpp"

#include <fmt/format.h>
#include <sodium.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "connector/inspect.hpp"
#include "connector/store.hpp"
#include "connector/version.hpp"

namespace sluice::connector {
namespace {

namespace fs = std::filesystem;

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::string sha256_of(ByteView content) {
  std::array<std::uint8_t, crypto_hash_sha256_BYTES> digest{};
  crypto_hash_sha256(digest.data(), content.data(), content.size());
  return to_hex(digest);
}

Error still_copied(const fs::path& file) {
  return Error(ErrorKind::retry_later, "connector.incomplete",
               fmt::format("{} was written to a moment ago", file.string()),
               "It is looked at again when the copy is complete; copy to another name and rename "
               "it to .so to be safe");
}

/// Alike for everyone who looks: paths, states, contents, reasons.
bool same(const Shelved& a, const Shelved& b) {
  const auto key = [](const ShelfFile& one) {
    return std::tuple(one.file, one.state, one.sha256, one.conflict,
                      one.reason ? one.reason->code : std::string());
  };
  return a.errors.size() == b.errors.size() &&
         std::equal(a.files.begin(), a.files.end(), b.files.begin(), b.files.end(),
                    [&](const auto& left, const auto& right) { return key(left) == key(right); });
}

}  // namespace

std::string_view to_string(FileState state) {
  switch (state) {
    case FileState::admitted:
      return "admitted";
    case FileState::incomplete:
      return "incomplete";
    case FileState::refused:
      return "refused";
  }
  return "refused";
}

const ShelfFile* Shelved::find(std::string_view sha256) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const ShelfFile& file) {
    return file.state == FileState::admitted && file.sha256 == sha256;
  });
  return found == files.end() ? nullptr : &*found;
}

bool Shelved::unsettled() const {
  return std::any_of(files.begin(), files.end(),
                     [](const ShelfFile& file) { return file.state == FileState::incomplete; });
}

Shelf::Shelf(std::vector<fs::path> directories, Owners owners)
    : directories_(std::move(directories)),
      owners_(std::move(owners)),
      shelved_(std::make_shared<const Shelved>()) {}

ShelvedPtr Shelf::shelved() const {
  const std::lock_guard lock(mutex_);
  return shelved_;
}

std::optional<Shelf::Stamp> Shelf::stamp_of(const fs::path& file) {
  struct stat facts {};
  if (::lstat(file.c_str(), &facts) != 0) return std::nullopt;
  Stamp stamp;
  stamp.device = facts.st_dev;
  stamp.inode = facts.st_ino;
  stamp.size = static_cast<std::uint64_t>(facts.st_size);
  stamp.modified_ns = nanoseconds(facts.st_mtim);
  stamp.changed_ns = nanoseconds(facts.st_ctim);
  return stamp;
}

ShelfFile Shelf::look_at(const fs::path& path, const Stamp& stamp, Micros now, Haste haste) const {
  ShelfFile file;
  file.file = path;
  file.size = stamp.size;
  const std::chrono::nanoseconds age = now - std::chrono::nanoseconds(stamp.modified_ns);
  // A time in the future says nothing about a copy under way.
  const auto written_within = [&](std::chrono::nanoseconds span) {
    return age.count() >= 0 && age < span;
  };
  const auto incomplete = [&](Error why) {
    file.state = FileState::incomplete;
    file.reason = std::move(why);
    file.sha256.clear();
    return file;
  };
  if (haste == Haste::patient && written_within(kCopyQuiet)) return incomplete(still_copied(path));
  if (auto trusted = owners_.check_file(path); !trusted) {
    file.reason = std::move(trusted.error());
    return file;
  }
  Result<Bytes> content = read_connector_file(path);
  if (!content) {
    file.reason = std::move(content.error());
    return file;
  }
  if (stamp_of(path) != stamp) return incomplete(still_copied(path));
  file.sha256 = sha256_of(*content);
  Result<Inspected> inspected = inspect(*content);
  if (inspected) {
    file.state = FileState::admitted;
    file.manifest = std::make_shared<const contract::Manifest>(std::move(inspected->manifest));
    file.warnings = std::move(inspected->warnings);
    return file;
  }
  if (inspected.error().code == "connector.elf_malformed" && written_within(kCopyPause))
    return incomplete(std::move(inspected.error()));
  file.reason = std::move(inspected.error());
  return file;
}

void Shelf::look_into(const fs::path& directory, Micros now, Haste haste, Shelved& out) {
  std::error_code failed;
  if (!fs::exists(directory, failed)) return;
  if (auto trusted = owners_.check_directory(directory); !trusted) {
    out.errors.push_back(std::move(trusted.error()));
    return;
  }
  std::vector<fs::path> files;
  fs::directory_iterator entries(directory, failed);
  for (const fs::directory_iterator end; !failed && entries != end; entries.increment(failed)) {
    if (entries->path().extension() == ".so") files.push_back(entries->path());
  }
  if (failed) {
    out.errors.emplace_back(ErrorKind::bad_input, "connector.not_readable",
                            fmt::format("{}: {}", directory.string(), failed.message()),
                            "Let connectors.directories name directories that the host may read");
  }
  std::sort(files.begin(), files.end());
  if (files.size() > kShelfFilesMax) {
    out.errors.emplace_back(ErrorKind::bad_input, "connector.too_many_files",
                            fmt::format("{} holds {} connector files; the first {} are looked at",
                                        directory.string(), files.size(), kShelfFilesMax),
                            "Remove what nobody installs any more");
    files.resize(kShelfFilesMax);
  }
  for (const fs::path& path : files) {
    const bool twice = std::any_of(out.files.begin(), out.files.end(),
                                   [&](const ShelfFile& file) { return file.file == path; });
    const std::optional<Stamp> stamp = stamp_of(path);
    if (twice || !stamp) continue;
    Seen& seen = seen_[path];
    const bool known = seen.stamp == *stamp && seen.file.state != FileState::incomplete;
    if (!known || seen.file.file.empty()) {
      seen.file = look_at(path, *stamp, now, haste);
      seen.stamp = *stamp;
    }
    out.files.push_back(seen.file);
  }
}

void Shelf::apply_refusals(Shelved& out) const {
  for (ShelfFile& file : out.files) {
    const auto refused = refused_.find(file.sha256);
    if (file.state != FileState::admitted || refused == refused_.end()) continue;
    file.state = FileState::refused;
    file.reason = refused->second;
  }
}

void Shelf::find_conflicts(Shelved& out) {
  for (ShelfFile& file : out.files) {
    file.conflict.clear();
    if (file.state != FileState::admitted) continue;
    for (const ShelfFile& other : out.files) {
      if (other.state != FileState::admitted || other.sha256 == file.sha256 ||
          other.manifest->id != file.manifest->id ||
          compare_versions(other.manifest->version, file.manifest->version) != 0)
        continue;
      file.conflict = other.file.string();
      break;
    }
  }
}

bool Shelf::rescan(Micros now, Haste haste) {
  const std::lock_guard one_at_a_time(looking_);
  auto out = std::make_shared<Shelved>();
  for (const fs::path& directory : directories_) look_into(directory, now, haste, *out);
  std::erase_if(seen_, [&](const auto& entry) {
    return std::none_of(out->files.begin(), out->files.end(),
                        [&](const ShelfFile& file) { return file.file == entry.first; });
  });
  const std::lock_guard lock(mutex_);
  if (haste == Haste::immediate) refused_.clear();
  apply_refusals(*out);
  find_conflicts(*out);
  const bool different = !same(*out, *shelved_);
  shelved_ = std::move(out);
  return different;
}

void Shelf::refuse(const std::string& sha256, Error why) {
  const std::lock_guard lock(mutex_);
  refused_.insert_or_assign(sha256, std::move(why));
  auto out = std::make_shared<Shelved>(*shelved_);
  apply_refusals(*out);
  find_conflicts(*out);
  shelved_ = std::move(out);
}

}  // namespace sluice::connector
