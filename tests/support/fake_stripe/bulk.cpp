#include "bulk.hpp"

#include <array>
#include <charconv>
#include <stdexcept>

namespace fake_stripe {
namespace {

constexpr std::string_view kAlphabet =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr int kDigits = 11;  // of 62 each: enough for 64 bits

constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31U);
}

constexpr std::uint64_t unshift(std::uint64_t z, unsigned by) {
  std::uint64_t out = z;
  for (unsigned done = by; done < 64; done += by) out = z ^ (out >> by);
  return out;
}

/// The inverse of mix(): its two factors have inverses modulo 2^64, its shifts are undone.
constexpr std::uint64_t unmix(std::uint64_t z) {
  z = unshift(z, 31U) * 0x319642b2d24d8ec3ULL;
  z = unshift(z, 27U) * 0x96de1b173f119089ULL;
  return unshift(z, 30U);
}
static_assert(unmix(mix(0x0123456789abcdefULL)) == 0x0123456789abcdefULL);

void append_digits(std::string& out, std::uint64_t value) {
  std::array<char, kDigits> digits{};
  for (int i = kDigits - 1; i >= 0; --i) {
    digits[static_cast<std::size_t>(i)] = kAlphabet[value % kAlphabet.size()];
    value /= kAlphabet.size();
  }
  out.append(digits.data(), digits.size());
}

std::optional<std::uint64_t> read_digits(std::string_view text) {
  std::uint64_t value = 0;
  for (const char c : text) {
    const auto digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = value * kAlphabet.size() + digit;
  }
  return value;
}

void append_number(std::string& out, std::uint64_t value) {
  std::array<char, 24> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out.append(text.data(), end);
}

void append_hex(std::string& out, std::uint64_t value) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  for (int i = 0; i < 16; ++i) {
    out += kHex[value & 15U];
    value >>= 4U;
  }
}

}  // namespace

Bulk::Bulk(Spec spec, const nlohmann::json& tree) : spec_(std::move(spec)) {
  key_ = mix(spec_.seed + 0x9e3779b97f4a7c15ULL);
  for (const char c : spec_.id_prefix) key_ = mix(key_ ^ static_cast<unsigned char>(c));
  split(tree.dump());
}

void Bulk::split(std::string_view text) {
  const auto literal = [this](std::string_view part) {
    if (!part.empty()) pieces_.push_back({.literal = std::string(part)});
  };
  size_ = text.size() + 64;
  while (true) {
    const auto open = text.find("@@");
    const auto close = open == std::string_view::npos ? open : text.find("@@", open + 2);
    if (close == std::string_view::npos) break;
    const std::string_view token = text.substr(open + 2, close - open - 2);
    const bool is_number = token == "created" || token == "number";
    // A number stands between quotes in the template, which go.
    literal(text.substr(0, is_number ? open - 1 : open));
    Piece piece;
    if (token == "id") {
      piece.kind = Kind::kId;
    } else if (token == "index") {
      piece.kind = Kind::kIndex;
    } else if (token == "hex") {
      piece.kind = Kind::kHex;
    } else if (is_number) {
      piece.kind = token == "created" ? Kind::kCreated : Kind::kNumber;
    } else if (token.starts_with("ref:") &&
               spec_.references.contains(std::string(token.substr(4)))) {
      piece.kind = Kind::kReference;
      piece.ids = &spec_.references.at(std::string(token.substr(4)));
    } else {
      throw std::invalid_argument("unknown token '" + std::string(token) + "'");
    }
    pieces_.push_back(std::move(piece));
    text.remove_prefix(close + (is_number ? 3 : 2));
  }
  literal(text);
}

std::uint64_t Bulk::random(std::uint64_t index, std::uint64_t purpose) const {
  return mix(mix(key_ + purpose) ^ index);
}

void Bulk::append_id(std::string& out, std::uint64_t index) const {
  out += spec_.id_prefix;
  append_digits(out, mix(index ^ key_));
  append_digits(out, random(index, 1));
}

std::string Bulk::id(std::uint64_t index) const {
  std::string out;
  append_id(out, index);
  return out;
}

std::optional<std::uint64_t> Bulk::index_of(std::string_view id) const {
  const std::size_t prefix = spec_.id_prefix.size();
  if (id.size() != prefix + 2 * kDigits || !id.starts_with(spec_.id_prefix)) return std::nullopt;
  const auto value = read_digits(id.substr(prefix, kDigits));
  if (!value) return std::nullopt;
  const std::uint64_t index = unmix(*value) ^ key_;
  if (index >= spec_.count || this->id(index) != id) return std::nullopt;
  return index;
}

std::int64_t Bulk::created(std::uint64_t index) const {
  if (spec_.count < 2) return spec_.created_from;
  const auto span = static_cast<double>(spec_.created_to - spec_.created_from);
  const double share = static_cast<double>(index) / static_cast<double>(spec_.count - 1);
  return spec_.created_from + static_cast<std::int64_t>(span * share);
}

std::pair<std::uint64_t, std::uint64_t> Bulk::window(std::int64_t min, std::int64_t max) const {
  const auto first_where = [this](auto&& reached) {
    std::uint64_t low = 0;
    std::uint64_t high = spec_.count;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if (reached(created(middle))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  };
  const std::uint64_t first = first_where([&](std::int64_t at) { return at >= min; });
  const std::uint64_t last = first_where([&](std::int64_t at) { return at > max; });
  return {first, std::max(first, last)};
}

void Bulk::append(std::string& out, std::uint64_t index) const {
  for (const Piece& piece : pieces_) {
    switch (piece.kind) {
      case Kind::kLiteral:
        out += piece.literal;
        break;
      case Kind::kId:
        append_id(out, index);
        break;
      case Kind::kIndex:
        append_number(out, index);
        break;
      case Kind::kHex:
        append_hex(out, random(index, 2));
        append_hex(out, random(index, 3));
        break;
      case Kind::kReference:
        out += (*piece.ids)[random(index, 4) % piece.ids->size()];
        break;
      case Kind::kCreated:
        append_number(out, static_cast<std::uint64_t>(created(index)));
        break;
      case Kind::kNumber:
        append_number(out, 1 + random(index, 5) % 99999);
        break;
    }
  }
}

std::string Bulk::text(std::uint64_t index) const {
  std::string out;
  out.reserve(size_);
  append(out, index);
  return out;
}

}  // namespace fake_stripe
