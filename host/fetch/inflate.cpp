#include "fetch/inflate.hpp"

#include <zlib.h>

#include <array>
#include <new>

namespace sluice::fetch {
namespace {
constexpr int kGzipOrZlib = 15 + 32;  // the largest window, header recognised by zlib
}

struct Inflater::Stream {
  z_stream z{};
  bool between = true;
  std::array<char, 64 << 10> out;
};

Inflater::Inflater() : stream_(std::make_unique<Stream>()) {
  if (inflateInit2(&stream_->z, kGzipOrZlib) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(&stream_->z); }

Inflater::Outcome Inflater::feed(std::string_view input, Sink sink, void* user) {
  z_stream& z = stream_->z;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
  z.avail_in = static_cast<uInt>(input.size());
  bool full = false;  // the output buffer was filled: there may be more without further input
  while (z.avail_in > 0 || full) {
    stream_->between = false;
    z.next_out = reinterpret_cast<Bytef*>(stream_->out.data());
    z.avail_out = static_cast<uInt>(stream_->out.size());
    const int code = inflate(&z, Z_NO_FLUSH);
    const std::size_t made = stream_->out.size() - z.avail_out;
    full = z.avail_out == 0;
    if (made > 0 && !sink(user, {stream_->out.data(), made})) return Outcome::stopped;
    if (code == Z_STREAM_END) {
      stream_->between = true;
      full = false;
      if (inflateReset(&z) != Z_OK) return Outcome::broken;
    } else if (code == Z_BUF_ERROR) {
      if (made == 0) break;  // wants more input
    } else if (code != Z_OK) {
      return Outcome::broken;
    }
  }
  return Outcome::more;
}

bool Inflater::complete() const { return stream_->between; }

}  // namespace sluice::fetch
