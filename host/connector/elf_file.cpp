#include "connector/elf_file.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <sluice/connector.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/printable.hpp"

namespace sluice::connector {
namespace {

static_assert(std::endian::native == std::endian::little,
              "structures are copied out of the file as they lie");

#if defined(__x86_64__)
constexpr std::uint16_t kMachine = EM_X86_64;
constexpr std::string_view kMachineName = "x86-64";
#elif defined(__aarch64__)
constexpr std::uint16_t kMachine = EM_AARCH64;
constexpr std::string_view kMachineName = "AArch64";
#else
#error "name this machine's ELF number here"
#endif

constexpr std::size_t kProgramHeadersMax = 128;
constexpr std::size_t kDynamicEntriesMax = 4096;
constexpr std::size_t kSymbolsMax = 4'000'000;
constexpr std::size_t kNeededMax = 256;
constexpr std::size_t kNameBytesMax = 4096;
constexpr std::size_t kNoteHeaderBytes = 12;  // of the description: format, major, minor, size

/// Left by throwing, so that the readers below stay straight; read_elf turns it into a value.
struct Refused {
  Error error;
};

constexpr const char* kBuildHint =
    "Build the connector with sluice_add_connector() and do not change the file afterwards";

[[noreturn]] void refuse(std::string code, std::string message, std::string hint = kBuildHint) {
  // Messages quote names out of the file.
  throw Refused{Error(ErrorKind::bad_input, std::move(code), printable(message), std::move(hint))};
}

[[noreturn]] void malformed(std::string message) {
  refuse("connector.elf_malformed", "the ELF file is damaged: " + std::move(message),
         "Copy the connector's file again, or build it again");
}

/// The part [offset, offset + size) of the file, or a refusal that names it.
ByteView slice(ByteView file, std::uint64_t offset, std::uint64_t size, std::string_view what) {
  if (offset > file.size() || size > file.size() - offset) {
    malformed(fmt::format("{} is said to have {} bytes at offset {}, but the file ends at {}", what,
                          size, offset, file.size()));
  }
  return file.subspan(offset, size);
}

/// A structure out of bytes of any alignment.
template <class T>
T read(ByteView bytes, std::uint64_t offset, std::string_view what) {
  T value;
  std::memcpy(&value, slice(bytes, offset, sizeof(T), what).data(), sizeof(T));
  return value;
}

using Headers = std::vector<Elf64_Phdr>;

/// Overlapping segments would let the file look different to us and to the dynamic loader.
void check_order(const Headers& headers) {
  std::uint64_t end = 0;
  for (const Elf64_Phdr& segment : headers) {
    if (segment.p_type != PT_LOAD) continue;
    if (segment.p_vaddr < end || segment.p_filesz > segment.p_memsz ||
        segment.p_memsz > UINT64_MAX - segment.p_vaddr) {
      malformed("its loadable segments overlap, wrap or are out of order");
    }
    end = segment.p_vaddr + segment.p_memsz;
  }
}

/// A copy that has only begun is damaged, not foreign: an empty file, the magic's first bytes, or
/// zeros where the rest is still to come.
void check_magic(ByteView file) {
  const std::size_t there = std::min<std::size_t>(file.size(), SELFMAG);
  if (there == 0 || file[0] == 0 || std::memcmp(file.data(), ELFMAG, there) == 0) return;
  refuse("connector.not_elf", "this is no shared library: the file does not begin with \\x7fELF",
         "Give the connector's .so itself, not its source, an archive or a package of it");
}

Headers read_headers(ByteView file) {
  check_magic(file);
  const auto header = read<Elf64_Ehdr>(file, 0, "the ELF header");
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) malformed("it begins with zeros");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != kMachine) {
    refuse("connector.wrong_machine",
           fmt::format(
               "the file is for another machine (class {}, byte order {}, machine {}); this "
               "host is {}",
               header.e_ident[EI_CLASS], header.e_ident[EI_DATA], header.e_machine, kMachineName),
           fmt::format("Build the connector for 64-bit {} Linux", kMachineName));
  }
  if (header.e_type != ET_DYN)
    malformed(fmt::format("type {} is no shared library (3)", header.e_type));
  if (header.e_phentsize != sizeof(Elf64_Phdr)) {
    malformed(fmt::format("program headers of {} bytes", header.e_phentsize));
  }
  if (header.e_phnum == 0 || header.e_phnum > kProgramHeadersMax) {
    malformed(
        fmt::format("{} program headers; 1 to {} are read", header.e_phnum, kProgramHeadersMax));
  }
  const ByteView table =
      slice(file, header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr), "the program header table");
  Headers headers(header.e_phnum);
  std::memcpy(headers.data(), table.data(), table.size());
  check_order(headers);
  return headers;
}

/// Where the loader will map a virtual address, in the file. Only bytes that the file holds count.
ByteView at_address(ByteView file, const Headers& headers, std::uint64_t address,
                    std::string_view what) {
  for (const Elf64_Phdr& segment : headers) {
    if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
    const std::uint64_t inside = address - segment.p_vaddr;
    if (inside >= segment.p_filesz) continue;
    return slice(file, segment.p_offset, segment.p_filesz, "a loadable segment").subspan(inside);
  }
  malformed(
      fmt::format("{} lies at address {:#x}, which no segment of the file holds", what, address));
}

std::string text_at(ByteView strings, std::uint64_t offset, std::string_view what) {
  if (offset >= strings.size()) {
    malformed(fmt::format("the name of {} lies beyond the string table", what));
  }
  const ByteView rest = strings.subspan(offset, std::min(strings.size() - offset, kNameBytesMax));
  const auto end = std::find(rest.begin(), rest.end(), std::uint8_t{0});
  if (end == rest.end()) malformed(fmt::format("the name of {} does not end", what));
  return {rest.begin(), end};
}

/// ---- the note ----

void take_note(ByteView description, ElfFacts& facts) {
  const auto format = read<std::uint32_t>(description, 0, "the Sluice note");
  if (format != SLUICE_NOTE_FORMAT) {
    refuse("connector.note_format",
           fmt::format("the Sluice note has note_format {}; this host reads {}", format,
                       SLUICE_NOTE_FORMAT),
           "Use a newer host, or build the connector with this host's plugin-api");
  }
  if (description.size() < kNoteHeaderBytes) malformed("the Sluice note is cut off");
  facts.abi_major = read<std::uint16_t>(description, 4, "the Sluice note");
  facts.required_minor = read<std::uint16_t>(description, 6, "the Sluice note");
  const auto size = read<std::uint32_t>(description, 8, "the Sluice note");
  if (size > SLUICE_MANIFEST_BYTES_MAX) {
    malformed(fmt::format("the note's manifest_size is {}; at most {} are read", size,
                          SLUICE_MANIFEST_BYTES_MAX));
  }
  if (size != description.size() - kNoteHeaderBytes) {
    malformed(fmt::format("the note's manifest_size is {}, but {} bytes follow", size,
                          description.size() - kNoteHeaderBytes));
  }
  facts.manifest = as_text(description.subspan(kNoteHeaderBytes));
}

std::uint64_t padded(std::uint64_t size, std::uint64_t alignment) {
  return (size + alignment - 1) & ~(alignment - 1);
}

/// Walks one PT_NOTE segment; returns how many Sluice notes it holds.
int walk_notes(ByteView notes, std::uint64_t alignment, ElfFacts& facts) {
  int found = 0;
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    const auto header = read<Elf64_Nhdr>(notes, 0, "a note");
    const std::uint64_t name_end = sizeof(Elf64_Nhdr) + std::uint64_t{header.n_namesz};
    const std::uint64_t begin = padded(name_end, alignment);
    const ByteView name = slice(notes, sizeof(Elf64_Nhdr), header.n_namesz, "a note's owner");
    const ByteView description = slice(notes, begin, header.n_descsz, "a note's description");
    constexpr std::string_view kOwner{SLUICE_NOTE_OWNER, sizeof(SLUICE_NOTE_OWNER)};
    if (as_text(name) == kOwner && header.n_type == SLUICE_NOTE_TYPE) {
      if (++found == 1) take_note(description, facts);
    }
    const std::uint64_t next = padded(begin + header.n_descsz, alignment);
    if (next >= notes.size()) break;
    notes = notes.subspan(next);
  }
  return found;
}

void read_note(ByteView file, const Headers& headers, ElfFacts& facts) {
  int found = 0;
  for (const Elf64_Phdr& segment : headers) {
    if (segment.p_type != PT_NOTE) continue;
    const ByteView notes = slice(file, segment.p_offset, segment.p_filesz, "a note segment");
    ElfFacts other;
    const int here = walk_notes(notes, segment.p_align == 8 ? 8 : 4, found == 0 ? facts : other);
    found += here;
  }
  if (found == 0) {
    refuse("connector.no_note", "the file has no note of owner 'Sluice': it is no connector");
  }
  if (found > 1) {
    refuse("connector.two_notes",
           fmt::format("the file has {} notes of owner 'Sluice'; exactly one is allowed", found),
           "Link one connector into one file");
  }
}

/// ---- the dynamic segment ----

struct Dynamic {
  std::optional<std::uint64_t> strings, strings_size, symbols, symbol_size, hash, gnu_hash;
  std::vector<std::uint64_t> needed;
  std::optional<std::uint64_t> search_path;
};

void set_once(std::optional<std::uint64_t>& slot, std::uint64_t value, std::string_view what) {
  if (slot) malformed(fmt::format("{} stands twice in the dynamic segment", what));
  slot = value;
}

void take_dynamic(const Elf64_Dyn& entry, Dynamic& dynamic, ElfFacts& facts) {
  const std::uint64_t value = entry.d_un.d_val;
  switch (entry.d_tag) {
    case DT_STRTAB:
      set_once(dynamic.strings, value, "DT_STRTAB");
      break;
    case DT_STRSZ:
      set_once(dynamic.strings_size, value, "DT_STRSZ");
      break;
    case DT_SYMTAB:
      set_once(dynamic.symbols, value, "DT_SYMTAB");
      break;
    case DT_SYMENT:
      set_once(dynamic.symbol_size, value, "DT_SYMENT");
      break;
    case DT_HASH:
      set_once(dynamic.hash, value, "DT_HASH");
      break;
    case DT_GNU_HASH:
      set_once(dynamic.gnu_hash, value, "DT_GNU_HASH");
      break;
    case DT_NEEDED:
      if (dynamic.needed.size() >= kNeededMax) {
        malformed(fmt::format("more than {} needed libraries", kNeededMax));
      }
      dynamic.needed.push_back(value);
      break;
    case DT_RPATH:
    case DT_RUNPATH:
      dynamic.search_path = value;
      break;
    case DT_TEXTREL:
      facts.text_relocations = true;
      break;
    case DT_FLAGS:
      facts.text_relocations |= (value & DF_TEXTREL) != 0;
      break;
    case DT_FLAGS_1:
      facts.interposes |= (value & (DF_1_INTERPOSE | DF_1_INITFIRST | DF_1_GLOBAL)) != 0;
      break;
    case DT_FILTER:
    case DT_AUXILIARY:
    case DT_AUDIT:
    case DT_DEPAUDIT:
      facts.interposes = true;
      break;
    default:
      break;
  }
}

Dynamic read_dynamic(ByteView file, const Headers& headers, ElfFacts& facts) {
  const Elf64_Phdr* segment = nullptr;
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type != PT_DYNAMIC) continue;
    if (segment != nullptr) malformed("two dynamic segments");
    segment = &header;
  }
  if (segment == nullptr) malformed("no dynamic segment");
  // The loader reads it where it is mapped, so that is where we read it too.
  const ByteView mapped = at_address(file, headers, segment->p_vaddr, "the dynamic segment");
  const ByteView entries = slice(mapped, 0, segment->p_filesz, "the dynamic segment");
  Dynamic dynamic;
  const std::size_t count = entries.size() / sizeof(Elf64_Dyn);
  for (std::size_t i = 0; i < count; ++i) {
    if (i >= kDynamicEntriesMax)
      malformed(fmt::format("more than {} dynamic entries", kDynamicEntriesMax));
    const auto entry = read<Elf64_Dyn>(entries, i * sizeof(Elf64_Dyn), "a dynamic entry");
    if (entry.d_tag == DT_NULL) return dynamic;
    take_dynamic(entry, dynamic, facts);
  }
  malformed("the dynamic segment does not end with DT_NULL");
}

/// ---- symbols ----

std::uint64_t count_by_gnu_hash(ByteView table) {
  const auto buckets = read<std::uint32_t>(table, 0, "the hash table");
  const auto first = read<std::uint32_t>(table, 4, "the hash table");
  const auto bloom = read<std::uint32_t>(table, 8, "the hash table");
  const std::uint64_t buckets_at = 16 + std::uint64_t{bloom} * 8;
  const ByteView heads = slice(table, buckets_at, std::uint64_t{buckets} * 4, "the hash buckets");
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < buckets; ++i) {
    last = std::max(last, read<std::uint32_t>(heads, std::uint64_t{i} * 4, "a hash bucket"));
  }
  if (last < first) return first;  // nothing is exported
  const std::uint64_t chains_at = buckets_at + heads.size();
  for (std::uint64_t symbol = last; symbol < kSymbolsMax; ++symbol) {
    const auto link = read<std::uint32_t>(table, chains_at + (symbol - first) * 4, "a hash chain");
    if ((link & 1) != 0) return symbol + 1;
  }
  malformed("a hash chain does not end");
}

std::uint64_t count_symbols(ByteView file, const Headers& headers, const Dynamic& dynamic) {
  std::uint64_t count = 0;
  if (dynamic.hash) {
    const ByteView table = at_address(file, headers, *dynamic.hash, "DT_HASH");
    count = read<std::uint32_t>(table, 4, "DT_HASH");
  }
  if (dynamic.gnu_hash) {
    const ByteView table = at_address(file, headers, *dynamic.gnu_hash, "DT_GNU_HASH");
    count = std::max(count, count_by_gnu_hash(table));
  }
  if (!dynamic.hash && !dynamic.gnu_hash) malformed("neither DT_HASH nor DT_GNU_HASH");
  if (count > kSymbolsMax)
    malformed(fmt::format("{} symbols; at most {} are read", count, kSymbolsMax));
  return count;
}

void take_entry(const Elf64_Sym& symbol, ElfFacts& facts) {
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  if (symbol.st_shndx == SHN_UNDEF) {
    refuse("connector.entry_foreign",
           fmt::format("'{}' is only used here, not defined: it would come from another library",
                       SLUICE_ENTRY_SYMBOL),
           "Define the entry in the connector itself");
  }
  if (type == STT_FUNC || type == STT_GNU_IFUNC) {
    refuse("connector.entry_is_function",
           fmt::format("'{}' is a{} function; it must be a constant object of type sluice_entry_v1",
                       SLUICE_ENTRY_SYMBOL, type == STT_FUNC ? "" : "n indirect"),
           "Define it as 'const sluice_entry_v1 sluice_connector_v1 = {...}'");
  }
  if (type != STT_OBJECT || symbol.st_shndx >= SHN_LORESERVE) {
    refuse("connector.entry_missing",
           fmt::format("'{}' is no object in this file (symbol type {}, section {})",
                       SLUICE_ENTRY_SYMBOL, type, symbol.st_shndx));
  }
  if (facts.entry_size != 0) malformed(fmt::format("two symbols '{}'", SLUICE_ENTRY_SYMBOL));
  if (symbol.st_size < SLUICE_ENTRY_SIZE_1_0) {
    refuse("connector.entry_too_small",
           fmt::format("'{}' has {} bytes; sluice_entry_v1 has {}", SLUICE_ENTRY_SYMBOL,
                       symbol.st_size, SLUICE_ENTRY_SIZE_1_0));
  }
  facts.entry_address = symbol.st_value;
  facts.entry_size = symbol.st_size;
}

void read_symbols(ByteView file, const Headers& headers, const Dynamic& dynamic, ByteView strings,
                  ElfFacts& facts) {
  if (!dynamic.symbols) malformed("no dynamic symbol table");
  if (dynamic.symbol_size.value_or(sizeof(Elf64_Sym)) != sizeof(Elf64_Sym)) {
    malformed(fmt::format("symbols of {} bytes", *dynamic.symbol_size));
  }
  const std::uint64_t count = count_symbols(file, headers, dynamic);
  const ByteView table = slice(at_address(file, headers, *dynamic.symbols, "the symbol table"), 0,
                               count * sizeof(Elf64_Sym), "the symbol table");
  for (std::uint64_t i = 1; i < count; ++i) {
    const auto symbol = read<Elf64_Sym>(table, i * sizeof(Elf64_Sym), "a symbol");
    if (ELF64_ST_BIND(symbol.st_info) == STB_LOCAL) continue;
    if (text_at(strings, symbol.st_name, "a symbol") == SLUICE_ENTRY_SYMBOL) {
      take_entry(symbol, facts);
      continue;
    }
    if (symbol.st_shndx == SHN_UNDEF) continue;
    ++facts.exported;
    if (ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE) ++facts.unique;
    if (ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC) ++facts.indirect;
  }
  if (facts.entry_size == 0) {
    refuse("connector.entry_missing",
           fmt::format("the file does not export '{}'", SLUICE_ENTRY_SYMBOL),
           "Define the entry with default visibility and keep it in the version script");
  }
}

void judge_segments(const Headers& headers, ElfFacts& facts) {
  bool stack_named = false;
  for (const Elf64_Phdr& segment : headers) {
    const bool executable = (segment.p_flags & PF_X) != 0;
    if (segment.p_type == PT_GNU_STACK) {
      stack_named = true;
      facts.executable_stack |= executable;
    }
    if (segment.p_type == PT_LOAD && executable && (segment.p_flags & PF_W) != 0) {
      facts.writable_code = true;
    }
  }
  facts.executable_stack |= !stack_named;
}

ElfFacts read_all(ByteView file) {
  ElfFacts facts;
  const Headers headers = read_headers(file);
  read_note(file, headers, facts);
  judge_segments(headers, facts);
  const Dynamic dynamic = read_dynamic(file, headers, facts);
  if (!dynamic.strings || !dynamic.strings_size) malformed("no dynamic string table");
  const ByteView strings = slice(at_address(file, headers, *dynamic.strings, "the string table"), 0,
                                 *dynamic.strings_size, "the string table");
  for (const std::uint64_t offset : dynamic.needed) {
    facts.needed.push_back(text_at(strings, offset, "a needed library"));
  }
  if (dynamic.search_path)
    facts.search_path = text_at(strings, *dynamic.search_path, "a search path");
  read_symbols(file, headers, dynamic, strings, facts);
  return facts;
}

}  // namespace

Result<ElfFacts> read_elf(ByteView file) {
  try {
    return read_all(file);
  } catch (Refused& refused) {
    return std::unexpected(std::move(refused.error));
  }
}

}  // namespace sluice::connector
