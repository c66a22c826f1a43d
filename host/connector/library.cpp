#include "connector/library.hpp"

#define BOOST_DLL_USE_STD_FS
#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <cstring>
#include <mutex>
#include <utility>

namespace sluice::connector {

struct Library::Handle {
  boost::dll::shared_library library;
};

namespace {

namespace dll = boost::dll;

/// dlopen() may run initialisers and changes the process's list of libraries: one at a time,
/// whoever asks.
constinit std::mutex loading;

constexpr const char* kRebuild = "Build the connector with sluice_add_connector()";

std::unexpected<Error> refuse(std::string code, std::string message, std::string hint = kRebuild) {
  return fail(ErrorKind::bad_input, std::move(code), std::move(message), std::move(hint));
}

/// The loader's words, with the connector's name in the place of a descriptor's.
std::string in_words(std::string why, const SealedFile& file) {
  const auto at = why.find(file.path());
  return at == std::string::npos ? why : why.replace(at, file.path().size(), file.name());
}

/// Maps it for good (NODELETE), then lets Boost.DLL hold a reference of its own: its load modes do
/// not know NODELETE, and its errors lose the loader's words.
Result<dll::shared_library> map(const SealedFile& file) {
  const std::lock_guard lock(loading);
  ::dlerror();
  void* const mapped = ::dlopen(file.path().c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (mapped == nullptr) {
    const char* why = ::dlerror();
    return refuse("connector.load_failed",
                  fmt::format("the dynamic loader refused it: {}",
                              why != nullptr ? in_words(why, file) : "no reason given"),
                  "A connector must resolve every symbol by itself and the C and C++ run time");
  }
  file.keep_for_good();
  std::error_code failed;
  dll::shared_library library(file.path(), dll::load_mode::rtld_now | dll::load_mode::rtld_local,
                              failed);
  const bool same = !failed && library.native() == mapped;
  // Our own reference stays: what was mapped once is never given back.
  if (!same) {
    return refuse("connector.load_failed",
                  fmt::format("{} could not be opened twice", file.name()));
  }
  return library;
}

/// The loadable segments of the library that maps `address`.
class Segments {
 public:
  explicit Segments(const void* address) : address_(reinterpret_cast<std::uintptr_t>(address)) {
    ::dl_iterate_phdr(&visit, this);
  }

  [[nodiscard]] bool hold(const void* begin, std::uint64_t size, std::uint32_t flags) const {
    const auto from = reinterpret_cast<std::uintptr_t>(begin);
    for (const auto& [start, length, has] : segments_) {
      if ((has & flags) == flags && from >= start && from - start <= length &&
          size <= length - (from - start)) {
        return true;
      }
    }
    return false;
  }

 private:
  struct Segment {
    std::uintptr_t start;
    std::uint64_t length;
    std::uint32_t flags;
  };

  static int visit(dl_phdr_info* info, std::size_t, void* self_pointer) {
    auto& self = *static_cast<Segments*>(self_pointer);
    std::vector<Segment> found;
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& header = info->dlpi_phdr[i];
      if (header.p_type != PT_LOAD) continue;
      found.push_back({info->dlpi_addr + header.p_vaddr, header.p_memsz, header.p_flags});
      ours |= self.address_ - found.back().start < header.p_memsz;
    }
    if (ours) self.segments_ = std::move(found);
    return ours ? 1 : 0;
  }

  std::uintptr_t address_;
  std::vector<Segment> segments_;
};

/// The symbol must come from that very file, not from a library that it pulled in.
Result<void> check_origin(const sluice_entry_v1* entry, const std::filesystem::path& path) {
  std::error_code failed;
  const std::filesystem::path origin = dll::symbol_location_ptr(entry, failed);
  if (failed || !std::filesystem::equivalent(origin, path, failed)) {
    return refuse("connector.entry_foreign",
                  fmt::format("'{}' comes from '{}', not from the connector's own file",
                              SLUICE_ENTRY_SYMBOL, origin.string()));
  }
  return {};
}

std::unexpected<Error> invalid(std::string_view field, std::string what) {
  return refuse("connector.entry_invalid",
                fmt::format("the mapped entry: {} {}", field, std::move(what)));
}

Result<void> check_functions(const sluice_entry_v1& entry, const Segments& segments) {
  const auto inside = [&](auto* function) {
    return function != nullptr && segments.hold(reinterpret_cast<const void*>(function), 1, PF_X);
  };
  constexpr const char* kOutside = "is not a function of this library";
  if (!inside(entry.open)) return invalid("open", kOutside);
  if (!inside(entry.step)) return invalid("step", kOutside);
  if (!inside(entry.close)) return invalid("close", kOutside);
  if (!inside(entry.query_extension)) return invalid("query_extension", kOutside);
  return {};
}

Result<void> check_manifest(const sluice_entry_v1& entry, const Segments& segments,
                            const std::string& noted) {
  const bool readable =
      entry.manifest != nullptr && segments.hold(entry.manifest, entry.manifest_size, PF_R);
  if (!readable || entry.manifest_size != noted.size() ||
      std::memcmp(entry.manifest, noted.data(), noted.size()) != 0) {
    return refuse(
        "connector.manifest_differs",
        fmt::format("the manifest of the mapped entry ({} bytes) is not the one in the file's "
                    "note ({} bytes)",
                    entry.manifest_size, noted.size()),
        "Embed one manifest.json for both (sluice_add_connector() does)");
  }
  return {};
}

Result<void> check_entry(const sluice_entry_v1* entry, const Admitted& admitted) {
  if (auto origin = check_origin(entry, admitted.sealed->path()); !origin) return origin;
  const Segments segments(entry);
  if (!segments.hold(entry, SLUICE_ENTRY_SIZE_1_0, PF_R)) {
    return invalid("itself", "does not lie in the library's data");
  }
  if (entry->struct_size < SLUICE_ENTRY_SIZE_1_0) {
    return invalid("struct_size", fmt::format("is {}; the contract's is {}", entry->struct_size,
                                              SLUICE_ENTRY_SIZE_1_0));
  }
  if (auto abi = check_abi(entry->abi_major, entry->required_minor, "the mapped entry"); !abi)
    return abi;
  if (entry->required_minor != admitted.inspected.elf.required_minor) {
    return invalid("required_minor",
                   fmt::format("is {}, but {} in the file's note", entry->required_minor,
                               admitted.inspected.elf.required_minor));
  }
  if (entry->flags != 0 || entry->reserved != 0)
    return invalid("flags and reserved", "must be zero");
  if (auto same = check_manifest(*entry, segments, admitted.inspected.elf.manifest); !same)
    return same;
  return check_functions(*entry, segments);
}

}  // namespace

Library::Library(std::unique_ptr<Handle> handle, const sluice_entry_v1* entry)
    : handle_(std::move(handle)), entry_(entry) {}

Library::~Library() = default;

Result<std::unique_ptr<const Library>> Library::load(const Admitted& admitted) {
  Result<dll::shared_library> mapped = map(*admitted.sealed);
  if (!mapped) return std::unexpected(std::move(mapped.error()));
  if (!mapped->has(SLUICE_ENTRY_SYMBOL)) {
    return refuse("connector.entry_missing",
                  fmt::format("the mapped library does not export '{}'", SLUICE_ENTRY_SYMBOL));
  }
  const auto* entry = &mapped->get<const sluice_entry_v1>(SLUICE_ENTRY_SYMBOL);
  if (auto checked = check_entry(entry, admitted); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  auto handle = std::make_unique<Handle>(Handle{std::move(*mapped)});
  return std::unique_ptr<const Library>(new Library(std::move(handle), entry));
}

}  // namespace sluice::connector
