#include "fold.hpp"

#include <array>
#include <vector>

namespace fake_stripe {
namespace {

using Points = std::vector<char32_t>;

struct Composition {
  char32_t letter;
  char32_t mark;
  char32_t composed;
};

constexpr std::array kCompositions = {
    Composition{U'a', 0x300, 0xE0},  Composition{U'a', 0x301, 0xE1},
    Composition{U'a', 0x302, 0xE2},  Composition{U'a', 0x303, 0xE3},
    Composition{U'a', 0x308, 0xE4},  Composition{U'a', 0x30A, 0xE5},
    Composition{U'a', 0x328, 0x105}, Composition{U'c', 0x327, 0xE7},
    Composition{U'c', 0x301, 0x107}, Composition{U'c', 0x30C, 0x10D},
    Composition{U'e', 0x300, 0xE8},  Composition{U'e', 0x301, 0xE9},
    Composition{U'e', 0x302, 0xEA},  Composition{U'e', 0x308, 0xEB},
    Composition{U'e', 0x328, 0x119}, Composition{U'e', 0x30C, 0x11B},
    Composition{U'g', 0x306, 0x11F}, Composition{U'i', 0x300, 0xEC},
    Composition{U'i', 0x301, 0xED},  Composition{U'i', 0x302, 0xEE},
    Composition{U'i', 0x308, 0xEF},  Composition{U'n', 0x303, 0xF1},
    Composition{U'n', 0x301, 0x144}, Composition{U'o', 0x300, 0xF2},
    Composition{U'o', 0x301, 0xF3},  Composition{U'o', 0x302, 0xF4},
    Composition{U'o', 0x303, 0xF5},  Composition{U'o', 0x308, 0xF6},
    Composition{U'r', 0x30C, 0x159}, Composition{U's', 0x301, 0x15B},
    Composition{U's', 0x327, 0x15F}, Composition{U's', 0x30C, 0x161},
    Composition{U'u', 0x300, 0xF9},  Composition{U'u', 0x301, 0xFA},
    Composition{U'u', 0x302, 0xFB},  Composition{U'u', 0x308, 0xFC},
    Composition{U'u', 0x30A, 0x16F}, Composition{U'y', 0x301, 0xFD},
    Composition{U'y', 0x308, 0xFF},  Composition{U'z', 0x301, 0x17A},
    Composition{U'z', 0x307, 0x17C}, Composition{U'z', 0x30C, 0x17E},
};

/// Reads one code point of valid UTF-8 and moves `at` past it.
char32_t next_point(std::string_view text, std::size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at++]);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  char32_t point = lead & (0x3FU >> static_cast<unsigned>(more));
  for (int i = 0; i < more && at < text.size(); ++i) {
    point = (point << 6U) | (static_cast<unsigned char>(text[at++]) & 0x3FU);
  }
  return point;
}

Points points_of(std::string_view text) {
  Points points;
  for (std::size_t at = 0; at < text.size();) points.push_back(next_point(text, at));
  return points;
}

void append_point(std::string& out, char32_t point) {
  const auto tail = [&](unsigned shift) {
    out += static_cast<char>(0x80U | ((point >> shift) & 0x3FU));
  };
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xC0U | (point >> 6U));
    tail(0);
  } else if (point < 0x10000) {
    out += static_cast<char>(0xE0U | (point >> 12U));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0U | (point >> 18U));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string text_of(const Points& points) {
  std::string out;
  for (const char32_t point : points) append_point(out, point);
  return out;
}

bool is_space(char32_t p) {
  return (p >= 0x09 && p <= 0x0D) || p == 0x20 || p == 0x85 || p == 0xA0 || p == 0x1680 ||
         (p >= 0x2000 && p <= 0x200A) || p == 0x2028 || p == 0x2029 || p == 0x202F || p == 0x205F ||
         p == 0x3000;
}

Points trimmed(Points points) {
  while (!points.empty() && is_space(points.back())) points.pop_back();
  std::size_t first = 0;
  while (first < points.size() && is_space(points[first])) ++first;
  points.erase(points.begin(), points.begin() + static_cast<std::ptrdiff_t>(first));
  return points;
}

/// Latin Extended-A: in these ranges capitals are even and the small letter follows.
bool in_even_range(char32_t p) {
  return (p >= 0x100 && p <= 0x12F) || (p >= 0x132 && p <= 0x137) || (p >= 0x14A && p <= 0x177);
}

/// ... and in these they are odd.
bool in_odd_range(char32_t p) { return (p >= 0x139 && p <= 0x148) || (p >= 0x179 && p <= 0x17E); }

/// Letters whose small form is not next to them; 0 when `p` is none.
char32_t far_small(char32_t p) {
  switch (p) {
    case 0x17F:
      return U's';
    case 0x178:
      return 0xFF;
    case 0xB5:
      return 0x3BC;
    default:
      return 0;
  }
}

char32_t small(char32_t p) {
  if (const char32_t far = far_small(p); far != 0) return far;
  if (p == 0x130) return p;  // its small form is two
  if (p >= 0xFF21 && p <= 0xFF3A) return p + 32;
  if (p >= U'A' && p <= U'Z') return p + 32;
  if (p >= 0xC0 && p <= 0xDE && p != 0xD7) return p + 32;
  if (in_even_range(p) && p % 2 == 0) return p + 1;
  if (in_odd_range(p) && p % 2 == 1) return p + 1;
  return p;
}

char32_t capital(char32_t p) {
  if (p >= U'a' && p <= U'z') return p - 32;
  if (p >= 0xE0 && p <= 0xFE && p != 0xF7) return p - 32;
  if (in_even_range(p) && p % 2 == 1 && p != 0x131) return p - 1;
  if (in_odd_range(p) && p % 2 == 0) return p - 1;
  return p;
}

/// Joins a letter with the mark after it.
void append_composed(Points& out, char32_t point) {
  if (!out.empty()) {
    for (const Composition& c : kCompositions) {
      if (c.letter == out.back() && c.mark == point) {
        out.back() = c.composed;
        return;
      }
    }
  }
  out.push_back(point);
}

}  // namespace

std::string fold_email(std::string_view text) {
  Points folded;
  for (const char32_t point : trimmed(points_of(text))) append_composed(folded, small(point));
  return text_of(folded);
}

std::string in_capitals(std::string_view text) {
  std::string out;
  for (const char32_t point : points_of(text)) append_point(out, capital(point));
  return out;
}

std::string decomposed(std::string_view text) {
  Points out;
  for (const char32_t point : points_of(text)) {
    bool found = false;
    for (const Composition& c : kCompositions) {
      if (c.composed != point) continue;
      out.insert(out.end(), {c.letter, c.mark});
      found = true;
    }
    if (!found) out.push_back(point);
  }
  return text_of(out);
}

std::string full_width_first(std::string_view text) {
  Points points = points_of(text);
  if (!points.empty() && points[0] > 0x20 && points[0] < 0x7F) points[0] += 0xFEE0;
  return text_of(points);
}

}  // namespace fake_stripe
