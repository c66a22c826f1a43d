// The reader of connector files that nobody has vouched for: connector/elf_file.hpp, inspect.hpp.
#include <sluice/connector.h>

#include "connector/inspect.hpp"
#include "target.hpp"

using namespace sluice;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView file(data, size);
  const Result<connector::ElfFacts> facts = connector::read_elf(file);
  const Result<connector::Inspected> inspected = connector::inspect(file);
  if (!facts) {
    fuzz::check_error(facts.error(), "connector.");
    fuzz::check(!inspected && inspected.error().code == facts.error().code,
                "inspect() refuses what read_elf() refuses, in the same words");
    return 0;
  }
  fuzz::check(facts->entry_size >= sizeof(sluice_entry_v1), "the entry has at least its size");
  fuzz::check(facts->manifest.size() <= SLUICE_MANIFEST_BYTES_MAX, "a manifest has its bound");
  fuzz::check(as_text(file).find(facts->manifest) != std::string_view::npos,
              "the manifest's bytes stand in the file");
  if (!inspected) {
    fuzz::check_error(inspected.error(), "connector.");
    return 0;
  }
  fuzz::check(inspected->elf.manifest == facts->manifest, "both read the same manifest");
  fuzz::check(inspected->elf.abi_major == SLUICE_ABI_MAJOR, "only our major is let in");
  fuzz::check(!inspected->elf.executable_stack && inspected->elf.search_path.empty(),
              "policy holds for what is let in");
  return 0;
}
