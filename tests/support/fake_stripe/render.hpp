#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shapes.hpp"
#include "world.hpp"

namespace fake_stripe {

using Json = nlohmann::json;

/// The newest version, the one objects are stored in.
inline constexpr std::string_view kPinnedVersion = "2026-10-28.endive";

/// Stripe embeds at most this many children in a parent, and sets has_more beyond.
inline constexpr std::size_t kEmbeddedMax = 10;

/// How much of a nested list is embedded: as Stripe does, or all of it (control side only).
enum class Nested { kTruncated, kComplete };

/// Appends the object as the pinned version shows it, by joining stored texts.
void append_object(std::string& out, const Object& object, Nested nested = Nested::kTruncated);
std::string object_text(const Object& object, Nested nested = Nested::kTruncated);

/// `{id, object, deleted:true}`
std::string tombstone_text(const Object& object);

/// The object as a tree in the given shape, nested lists truncated.
Json object_tree(const World& world, const Object& object, const Shape& shape);

/// Follows one `expand[]` path inside `value`, an object of `resource`. False when the path does
/// not exist there.
bool expand(const World& world, Json& value, const Resource& resource, std::string_view path,
            const Shape& shape);

/// The list of what a checkout session sold: `line_items`, absent unless expanded.
Json line_items_of(const Json& session);

}  // namespace fake_stripe
