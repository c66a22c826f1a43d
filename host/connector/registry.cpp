#include "connector/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "connector/in_process.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::connector {

std::optional<Result<std::shared_ptr<const ConnectorCode>>> Registry::known(
    std::string_view sha256) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = loaded_.find(sha256); found != loaded_.end()) return found->second;
  if (const auto held = held_.find(sha256); held != held_.end())
    return fail(ErrorKind::denied, "connector.held", held->second, std::string(kHeldHint));
  if (const auto unfit = unfit_.find(sha256); unfit != unfit_.end())
    return std::unexpected(unfit->second);
  return std::nullopt;
}

Result<std::shared_ptr<const ConnectorCode>> Registry::load(Result<Admitted> admitted) {
  if (!admitted) return std::unexpected(std::move(admitted.error()));
  const std::string sha256 = admitted->sha256;
  if (auto answer = known(sha256)) return *answer;
  // So that two callers of the same file get the same code. Not under the lock of what is known:
  // an initialiser may take its time, and may never return.
  const std::lock_guard one_at_a_time(loading_);
  if (auto answer = known(sha256)) return *answer;
  Result<std::shared_ptr<const ConnectorCode>> code =
      load_in_process(std::move(*admitted), recorder_);
  if (!code) shelf_.refuse(sha256, code.error());
  const std::lock_guard lock(mutex_);
  if (code) {
    loaded_.emplace(sha256, *code);
    held_.erase(sha256);  // it came back after all
  } else if (code.error().code != "connector.load_failed") {
    // What was mapped stays mapped, and would be refused again for the same reason.
    unfit_.emplace(sha256, code.error());
  }
  return code;
}

Registry::~Registry() { reader_.join(); }

Result<std::shared_ptr<const ConnectorCode>> Registry::obtain(std::string_view sha256) {
  if (auto answer = known(sha256)) return *answer;
  auto stored = load(store_.open(sha256));
  if (stored) return stored;
  const bool damaged = stored.error().code == "connector.store_damaged";
  if (!damaged && stored.error().code != "connector.not_found") return stored;
  const std::optional<std::filesystem::path> file = on_shelf(sha256);
  if (!file && damaged) return stored;
  if (!file) {
    return fail(ErrorKind::not_found, "connector.not_on_this_host",
                fmt::format("this host has no connector file with the content {}", sha256),
                "Copy that file into a directory of connectors.directories on this host");
  }
  Result<Admitted> admitted = store_.admit(*file, contract::Admission::before);
  if (admitted && admitted->sha256 != sha256) {
    return fail(ErrorKind::conflict, "connector.file_changed",
                fmt::format("{} was replaced a moment ago", file->string()),
                "sluice connector rescan, and choose again");
  }
  return load(std::move(admitted));
}

std::optional<std::filesystem::path> Registry::on_shelf(std::string_view sha256) const {
  const ShelvedPtr shelved = shelf_.shelved();
  if (const ShelfFile* file = shelved->find(sha256)) return file->file;
  for (const ShelfFile& file : shelved->files) {
    if (file.sha256 == sha256 && file.reason && file.reason->code == "connector.manifest_invalid")
      return file.file;
  }
  return std::nullopt;
}

void Registry::hold(std::string sha256, std::string why) {
  const std::lock_guard lock(mutex_);
  held_.insert_or_assign(std::move(sha256), std::move(why));
}

void Registry::release(std::string_view sha256) {
  const std::lock_guard lock(mutex_);
  if (const auto held = held_.find(sha256); held != held_.end()) held_.erase(held);
}

std::optional<Error> Registry::held(std::string_view sha256) const {
  const std::lock_guard lock(mutex_);
  const auto held = held_.find(sha256);
  if (held == held_.end() || loaded_.contains(sha256)) return std::nullopt;
  return Error(ErrorKind::denied, "connector.held", held->second, std::string(kHeldHint));
}

bool Registry::has(std::string_view sha256) const {
  if (find(sha256) != nullptr || on_shelf(sha256)) return true;
  std::error_code ignored;
  return std::filesystem::exists(store_.directory() / fmt::format("{}.so", sha256), ignored);
}

Task<bool> Registry::rescan_here(Micros now, Shelf::Haste haste) {
  co_return shelf_.rescan(now, haste);
}

Task<bool> Registry::rescan(Micros now, Shelf::Haste haste) {
  Task<bool> look = rescan_here(now, haste);
  co_return co_await asio::co_spawn(reader_.get_executor(), std::move(look), asio::use_awaitable);
}

Result<std::shared_ptr<const ConnectorCode>> Registry::load_file(
    const std::filesystem::path& file) {
  return load(store_.admit(file));
}

Result<std::shared_ptr<const ConnectorCode>> Registry::load_stored(std::string_view sha256) {
  if (auto code = find(sha256)) return code;
  return load(store_.open(sha256));
}

std::shared_ptr<const ConnectorCode> Registry::find(std::string_view sha256) const {
  const std::lock_guard lock(mutex_);
  const auto found = loaded_.find(sha256);
  return found == loaded_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const ConnectorCode>> Registry::list() const {
  std::vector<std::shared_ptr<const ConnectorCode>> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [sha256, code] : loaded_) all.push_back(code);
  }
  const auto key = [](const auto& code) {
    return std::tie(code->manifest().id, code->manifest().version, code->sha256());
  };
  std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  return all;
}

Result<std::vector<Scanned>> Registry::scan(const std::filesystem::path& directory) {
  std::error_code failed;
  std::vector<std::filesystem::path> files;
  std::filesystem::directory_iterator entries(directory, failed);
  for (const std::filesystem::directory_iterator end; !failed && entries != end;
       entries.increment(failed)) {
    if (entries->path().extension() == ".so") files.push_back(entries->path());
  }
  if (failed) {
    return fail(ErrorKind::bad_input, "connector.not_readable",
                fmt::format("{}: {}", directory.string(), failed.message()),
                "Name a directory of connector files that the host may read");
  }
  std::sort(files.begin(), files.end());
  std::vector<Scanned> scanned;
  for (const std::filesystem::path& file : files) {
    Result<Bytes> content = read_connector_file(file);
    scanned.push_back({file, content
                                 ? inspect(*content)
                                 : Result<Inspected>(std::unexpected(std::move(content.error())))});
  }
  return scanned;
}

}  // namespace sluice::connector
