// What a connector's file says about itself, and whether this host would load it: without running
// it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "connector/elf_file.hpp"
#include "contract/manifest.hpp"

namespace sluice::connector {

/// A file that may be loaded, as far as its bytes can tell. A plain value.
struct Inspected {
  ElfFacts elf;  ///< with the manifest's bytes, to be compared with the mapped ones
  contract::Manifest manifest;
  std::vector<std::string> warnings;  ///< allowed but unwise, for the admin
};

/// The one version rule (SLP-L03), asked for the file's note, for the mapped entry and at open().
/// `where` says which. Errors (unsupported): connector.abi_major, connector.abi_minor; they name
/// the field, its value, the host's value and the remedy.
Result<void> check_abi(unsigned major, unsigned required_minor, std::string_view where);

/// ELF facts, version rule, policy, manifest, in this order. Any thread, no side effect. With
/// Admission::before the manifest of a file that is installed somewhere is read with its flaws
/// (contract/manifest.hpp). Errors:
/// those of read_elf() and check_abi(), connector.needs_library, connector.search_path,
/// connector.text_relocations, connector.executable_stack, connector.writable_code,
/// connector.interposes, connector.indirect_function, connector.manifest_invalid.
Result<Inspected> inspect(ByteView file, contract::Admission admission = contract::Admission::now);

}  // namespace sluice::connector
