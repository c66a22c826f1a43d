#include "connector/inspect.hpp"

#include <fmt/format.h>
#include <sluice/connector.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/printable.hpp"

namespace sluice::connector {
namespace {

/// What a connector may need besides itself: the C and C++ run time. Everything else it brings
/// along.
constexpr std::array<std::string_view, 10> kAllowedLibraries = {
    "libc.so.6",     "libm.so.6",      "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
    "libgcc_s.so.1", "libstdc++.so.6", "libpthread.so.0",      "libdl.so.2",
    "librt.so.1",    "linux-vdso.so.1"};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitizerHost = true;
#else
constexpr bool kSanitizerHost = false;
#endif
constexpr std::array<std::string_view, 4> kSanitizerLibraries = {"libasan.so.", "libubsan.so.",
                                                                 "libtsan.so.", "liblsan.so."};

bool is_allowed(std::string_view library) {
  if (std::find(kAllowedLibraries.begin(), kAllowedLibraries.end(), library) !=
      kAllowedLibraries.end()) {
    return true;
  }
  return kSanitizerHost &&
         std::any_of(kSanitizerLibraries.begin(), kSanitizerLibraries.end(),
                     [&](std::string_view prefix) { return library.starts_with(prefix); });
}

std::unexpected<Error> refuse(std::string code, std::string message, std::string hint) {
  return fail(ErrorKind::denied, std::move(code), printable(message), std::move(hint));
}

Result<void> check_policy(const ElfFacts& facts) {
  for (const std::string& library : facts.needed) {
    if (is_allowed(library)) continue;
    return refuse(
        "connector.needs_library",
        fmt::format("the connector needs '{}'; a connector may need only the C and C++ run "
                    "time",
                    library),
        "Link that library statically into the connector");
  }
  if (!facts.search_path.empty()) {
    return refuse(
        "connector.search_path",
        fmt::format("the connector carries a library search path: '{}'", facts.search_path),
        "Build without -rpath (CMake: SKIP_BUILD_RPATH, or use sluice_add_connector())");
  }
  if (facts.text_relocations) {
    return refuse("connector.text_relocations",
                  "the connector's code would be changed while it is loaded",
                  "Build everything in it with -fPIC");
  }
  if (facts.executable_stack) {
    return refuse("connector.executable_stack", "the connector asks for an executable stack",
                  "Link with -Wl,-z,noexecstack; look for assembly without .note.GNU-stack");
  }
  if (facts.writable_code) {
    return refuse("connector.writable_code",
                  "a segment of the connector is writable and executable",
                  "Link without -N and without linker scripts that merge code and data");
  }
  if (facts.interposes) {
    return refuse("connector.interposes",
                  "the connector asks the dynamic loader to put it before other libraries",
                  "Link without -z interpose, -z initfirst, filters and audit libraries");
  }
  if (facts.indirect > 0) {
    return refuse(
        "connector.indirect_function",
        fmt::format("{} exported symbols are indirect functions, whose resolvers run while "
                    "symbols are looked up",
                    facts.indirect),
        "Export the entry alone (version script; sluice_add_connector() does it)");
  }
  return {};
}

std::vector<std::string> warnings_of(const ElfFacts& facts) {
  std::vector<std::string> warnings;
  if (facts.exported > 0) {
    warnings.push_back(fmt::format("exports {} symbols besides '{}'; use a version script",
                                   facts.exported, SLUICE_ENTRY_SYMBOL));
  }
  if (facts.unique > 0) {
    warnings.push_back(
        fmt::format("{} symbols are unique in the process and may be shared with "
                    "another connector; build with -fno-gnu-unique",
                    facts.unique));
  }
  return warnings;
}

}  // namespace

Result<void> check_abi(unsigned major, unsigned required_minor, std::string_view where) {
  if (major != SLUICE_ABI_MAJOR) {
    return fail(
        ErrorKind::unsupported, "connector.abi_major",
        fmt::format("{}: abi_major is {}, this host has {}", where, major, SLUICE_ABI_MAJOR),
        major > SLUICE_ABI_MAJOR ? "Use a newer host"
                                 : "Build the connector with this host's plugin-api");
  }
  if (required_minor > SLUICE_ABI_MINOR) {
    return fail(ErrorKind::unsupported, "connector.abi_minor",
                fmt::format("{}: required_minor is {}, this host has {}.{}", where, required_minor,
                            SLUICE_ABI_MAJOR, SLUICE_ABI_MINOR),
                fmt::format("Use a host with contract {}.{} or newer, or an older version of the "
                            "connector",
                            major, required_minor));
  }
  return {};
}

Result<Inspected> inspect(ByteView file, contract::Admission admission) {
  Result<ElfFacts> facts = read_elf(file);
  if (!facts) return std::unexpected(std::move(facts.error()));
  if (auto abi = check_abi(facts->abi_major, facts->required_minor, "the file's note"); !abi) {
    return std::unexpected(std::move(abi.error()));
  }
  if (auto policy = check_policy(*facts); !policy)
    return std::unexpected(std::move(policy.error()));
  Result<contract::Manifest> manifest = contract::parse_manifest(facts->manifest, admission);
  if (!manifest) {
    Error& why = manifest.error();
    return fail(why.kind, "connector.manifest_invalid", std::move(why.message),
                std::move(why.hint));
  }
  Inspected inspected;
  inspected.warnings = warnings_of(*facts);
  inspected.elf = std::move(*facts);
  inspected.manifest = std::move(*manifest);
  return inspected;
}

}  // namespace sluice::connector
