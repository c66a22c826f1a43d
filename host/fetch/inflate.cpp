#include "fetch/inflate.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <new>

namespace sluice::fetch {
namespace {
constexpr int kLargestWindow = 15;
constexpr int kGzip = 16;
constexpr int kGzipOrZlib = 32;  // header recognised by zlib
constexpr std::string_view kGzipMagic = "\x1f\x8b";
}  // namespace

struct Inflater::Stream {
  z_stream z{};
  enum class At { member, between, behind } at = At::between;
  bool has_member = false;
  std::size_t magic_seen = 0;  ///< bytes of a further member's first two, between members
  std::array<char, 64 << 10> out;

  /// True when `input` begins, or may yet begin, a member; takes what is no part of one.
  bool begins_member(std::string_view& input) {
    if (!has_member) return true;
    while (!input.empty() && magic_seen < kGzipMagic.size()) {
      if (input.front() != kGzipMagic[magic_seen]) {
        at = At::behind;
        return false;
      }
      ++magic_seen;
      input.remove_prefix(1);
    }
    return magic_seen == kGzipMagic.size();
  }
};

Inflater::Inflater() : stream_(std::make_unique<Stream>()) {
  if (inflateInit2(&stream_->z, kLargestWindow + kGzipOrZlib) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(&stream_->z); }

Inflater::Outcome Inflater::feed(std::string_view input, Sink sink, void* user) {
  z_stream& z = stream_->z;
  while (!input.empty()) {
    if (stream_->at == Stream::At::behind) return Outcome::more;
    std::string_view piece = input;
    if (stream_->at == Stream::At::between) {
      if (!stream_->begins_member(input)) return Outcome::more;
      stream_->at = Stream::At::member;
      // The two bytes may have come with an earlier piece.
      piece = stream_->has_member ? kGzipMagic : input;
    }
    const bool is_magic = piece.data() == kGzipMagic.data();
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
    z.avail_in = static_cast<uInt>(piece.size());
    bool full = false;  // the output buffer was filled: there may be more without further input
    while (z.avail_in > 0 || full) {
      z.next_out = reinterpret_cast<Bytef*>(stream_->out.data());
      z.avail_out = static_cast<uInt>(stream_->out.size());
      const int code = inflate(&z, Z_NO_FLUSH);
      const std::size_t made = stream_->out.size() - z.avail_out;
      full = z.avail_out == 0;
      if (made > 0 && !sink(user, {stream_->out.data(), made})) return Outcome::stopped;
      if (code == Z_STREAM_END) {
        stream_->at = Stream::At::between;
        stream_->has_member = true;
        stream_->magic_seen = 0;
        if (inflateReset2(&z, kLargestWindow + kGzip) != Z_OK) return Outcome::broken;
        break;
      }
      if (code == Z_BUF_ERROR) {
        if (made == 0) break;  // wants more input
      } else if (code != Z_OK) {
        return Outcome::broken;
      }
    }
    if (!is_magic) input.remove_prefix(piece.size() - z.avail_in);
    if (stream_->at == Stream::At::member && !is_magic) return Outcome::more;
  }
  return Outcome::more;
}

bool Inflater::complete() const { return stream_->at != Stream::At::member; }

bool Inflater::has_member() const { return stream_->has_member; }

}  // namespace sluice::fetch
