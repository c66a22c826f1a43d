#include "base/wiped.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>

namespace sluice {

void* allocate_memory(std::size_t size) noexcept { return std::malloc(size); }

void* reallocate_memory(void* memory, std::size_t size) noexcept {
  if (size == 0) {
    free_wiped(memory);
    return nullptr;
  }
  void* const moved = std::malloc(size);
  if (moved == nullptr || memory == nullptr) return moved;
  std::memcpy(moved, memory, std::min(size, ::malloc_usable_size(memory)));
  free_wiped(memory);
  return moved;
}

void free_wiped(void* memory) noexcept {
  if (memory == nullptr) return;
  wipe_bytes(memory, ::malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace sluice
