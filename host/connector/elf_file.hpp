// Reads a shared library's file that nobody has vouched for, without running any of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace sluice::connector {

/// What the loader must know about a connector's file, taken from its bytes alone. Plain values:
/// nothing in here points into the file.
struct ElfFacts {
  /// From the one note of owner "Sluice".
  std::uint16_t abi_major = 0;
  std::uint16_t required_minor = 0;
  std::string manifest;

  /// From the dynamic segment, in the file's order.
  std::vector<std::string> needed;  ///< DT_NEEDED
  std::string search_path;          ///< DT_RPATH or DT_RUNPATH; empty when there is none
  bool text_relocations = false;
  bool interposes = false;  ///< DF_1_INTERPOSE, DF_1_INITFIRST, or a filter or audit library

  bool executable_stack = false;  ///< PT_GNU_STACK is executable, or missing
  bool writable_code = false;     ///< a segment that can be both written and executed

  /// From the dynamic symbol table.
  std::uint64_t entry_address =
      0;  ///< of sluice_connector_v1, an object of at least the entry's size
  std::uint64_t entry_size = 0;
  std::uint32_t exported = 0;  ///< defined global symbols besides the entry
  std::uint32_t unique = 0;    ///< of them STB_GNU_UNIQUE
  std::uint32_t indirect = 0;  ///< STT_GNU_IFUNC: a resolver would run while symbols are bound
};

/// Any thread; reads nothing but `file` and trusts no number in it. Costs a pass over the dynamic
/// symbols. Errors (bad_input): connector.not_elf, connector.elf_malformed (cut off, or changed),
/// connector.wrong_machine, connector.no_note, connector.two_notes, connector.entry_missing,
/// connector.entry_foreign, connector.entry_is_function, connector.entry_too_small. It judges only
/// what cannot be read otherwise; policy is inspect()'s.
Result<ElfFacts> read_elf(ByteView file);

}  // namespace sluice::connector
