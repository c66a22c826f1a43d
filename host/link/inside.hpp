// What stands somewhere inside of JSON, as the text of a link key: the same from the vendor's text
// as from what PostgreSQL printed of it, and what `#>>` of PostgreSQL finds there.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::link {

using Path = std::span<const std::string>;

/// The value that the path leads to: a text, the digits of a number in their one form
/// (base/decimal.hpp), or "true" or "false". Nothing for null, for an object or a list, for what is
/// too long to be a key (kKeyBytesMax; it is not copied), and where there is nothing. A part of the
/// path is a member's name, or in a list a place from 0 on (from the end: -1); of a name that comes
/// twice the last member counts. Without a path: the value itself. `json` is checked JSON, or
/// empty: then nothing.
[[nodiscard]] std::optional<std::string> text_inside(std::string_view json, Path path = {});

/// The same for several paths, in their order. The document is gone over once, however many and
/// long they are; a list once more where one counts from its end.
[[nodiscard]] std::vector<std::optional<std::string>> texts_inside(std::string_view json,
                                                                   std::span<const Path> paths);

}  // namespace sluice::link
