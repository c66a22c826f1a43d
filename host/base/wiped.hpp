// Memory that is overwritten when it goes back to the heap.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

namespace sluice {

/// Overwrites bytes in a way that the compiler keeps.
inline void wipe_bytes(void* bytes, std::size_t size) {
  if (size != 0) ::explicit_bzero(bytes, size);
}

// A heap of the C kind whose memory is wiped when it goes back: for the libraries that let their
// users bring one. Each pair with the C library's own malloc and free.
[[nodiscard]] void* allocate_memory(std::size_t size) noexcept;
[[nodiscard]] void* reallocate_memory(void* memory, std::size_t size) noexcept;
void free_wiped(void* memory) noexcept;

/// For containers that hold secrets for a moment: wherever they grow, move or end, nothing stays
/// behind. Not for std::string, which keeps short texts in itself.
template <class T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <class Other>
  WipingAllocator(const WipingAllocator<Other>&) {}  // NOLINT: as every allocator
  [[nodiscard]] T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T)));
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    wipe_bytes(memory, count * sizeof(T));
    ::operator delete(memory);
  }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
};

/// A text of a secret, outside of the vault's memory: short-lived, and gone when it ends.
class WipedText {
 public:
  WipedText() = default;
  explicit WipedText(std::string_view text) : bytes_(text.begin(), text.end()) {}
  WipedText& operator+=(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }
  WipedText& operator+=(char c) {
    bytes_.push_back(c);
    return *this;
  }
  void resize(std::size_t size) { bytes_.resize(size); }
  void erase(std::size_t at, std::size_t size) {
    const auto from = bytes_.begin() + static_cast<std::ptrdiff_t>(at);
    bytes_.erase(from, from + static_cast<std::ptrdiff_t>(size));
  }

  [[nodiscard]] char* data() { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  /// Valid until it is changed.
  [[nodiscard]] std::string_view view() const { return {bytes_.data(), bytes_.size()}; }
  /// Ends with a NUL; valid until it is changed.
  [[nodiscard]] const char* c_str() {
    bytes_.push_back('\0');
    bytes_.pop_back();
    return bytes_.data();
  }

 private:
  std::vector<char, WipingAllocator<char>> bytes_;
};

}  // namespace sluice
