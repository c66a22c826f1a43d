// Two halves: a schema's text becomes a tree of nodes, and a document is walked along that tree.
#include "contract/json_schema.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <map>

#include "base/nearest.hpp"
#include "contract/pattern.hpp"

namespace sluice::contract {
namespace {

using nlohmann::json;

/// Also what ends a "$ref" that leads to itself.
constexpr int kSchemaDepthMax = 64;
constexpr std::size_t kShownMax = 20;       ///< names or values in one sentence
constexpr std::size_t kShownBytesMax = 80;  ///< of each
constexpr std::size_t kWordsCompared = 30;  ///< more are not looked through for what somebody meant
/// Of all patterns of a schema; some three megabytes.
constexpr std::uint64_t kInstructionsMax = 200'000;

// ---- kinds of values -------------------------------------------------------------------------

constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "object", "array",
                                                    "string", "number",  "integer"};

unsigned bit_of(std::string_view type) {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i] == type) return 1U << i;
  return 0;
}

std::string_view type_of(const json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "boolean";
  if (value.is_object()) return "object";
  if (value.is_array()) return "array";
  if (value.is_string()) return "string";
  return value.is_number_integer() ? "integer" : "number";
}

unsigned bits_of(const json& value) {
  const unsigned own = bit_of(type_of(value));
  return value.is_number_integer() ? own | bit_of("number") : own;
}

std::string types_in_words(unsigned types) {
  std::vector<std::string_view> names;
  for (const std::string_view type : kTypes)
    if ((types & bit_of(type)) != 0) names.push_back(type);
  return fmt::format("{}", fmt::join(names, " or "));
}

std::size_t characters_of(const std::string& text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

std::string shortened(std::string text) {
  if (text.size() <= kShownBytesMax) return text;
  std::size_t end = kShownBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

template <typename Names>
std::string some_of(const Names& names) {
  std::vector<std::string> shown;
  for (const auto& name : names) {
    if (shown.size() == kShownMax) {
      shown.emplace_back("…");
      break;
    }
    shown.push_back(shortened(name));
  }
  return fmt::format("{}", fmt::join(shown, ", "));
}

// ---- format ----------------------------------------------------------------------------------

enum class Format { none, date, time, date_time };

struct FormatName {
  std::string_view name;
  Format format;
};
constexpr std::array<FormatName, 3> kFormats = {
    {{"date", Format::date}, {"time", Format::time}, {"date-time", Format::date_time}}};

int two_digits(std::string_view text) { return (text[0] - '0') * 10 + (text[1] - '0'); }

/// YYYY-MM-DD with a day that there is.
bool is_date(std::string_view text) {
  static const Pattern kShape("^[0-9]{4}-[0-9]{2}-[0-9]{2}$");
  if (!kShape.found_in(text)) return false;
  const int year = two_digits(text) * 100 + two_digits(text.substr(2));
  const int month = two_digits(text.substr(5)), day = two_digits(text.substr(8));
  constexpr std::array<int, 12> kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (month < 1 || month > 12 || day < 1) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day <= kDays[static_cast<std::size_t>(month - 1)] + (month == 2 && leap ? 1 : 0);
}

bool is_time(std::string_view text) {
  static const Pattern kShape(
      "^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)([.][0-9]+)?"
      "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$");
  return kShape.found_in(text);
}

bool has_format(Format format, std::string_view text) {
  switch (format) {
    case Format::date:
      return is_date(text);
    case Format::time:
      return is_time(text);
    case Format::date_time:
      return text.size() > 11 && (text[10] == 'T' || text[10] == 't') &&
             is_date(text.substr(0, 10)) && is_time(text.substr(11));
    case Format::none:
      return true;
  }
  return true;
}

// ---- the tree --------------------------------------------------------------------------------

struct Node;
using NodePtr = std::unique_ptr<Node>;

/// One schema. What is absent asks for nothing.
struct Node {
  bool never = false;  ///< the schema `false`
  unsigned types = 0;
  std::optional<json> constant, choices;  ///< "const", "enum"
  std::optional<json> minimum, maximum, above, below, multiple_of;
  std::optional<std::uint64_t> length_min, length_max, items_min, items_max, members_min,
      members_max;
  bool unique_items = false;
  Format format = Format::none;
  std::optional<Pattern> pattern;
  std::vector<std::string> required;
  std::map<std::string, NodePtr, std::less<>> properties;
  std::vector<std::pair<Pattern, NodePtr>> pattern_properties;
  NodePtr additional_properties, property_names;
  struct Dependency {
    std::vector<std::string> names;
    NodePtr schema;
  };
  std::map<std::string, Dependency, std::less<>> dependencies;
  NodePtr items, additional_items, contains;  ///< "items" as one schema
  std::vector<NodePtr> first_items;           ///< "items" as a list
  std::vector<NodePtr> all_of, any_of, one_of;
  NodePtr not_this, if_this, then_this, else_this;
};

/// From text to the tree; what cannot be used becomes a fault and is left out.
class Reader {
 public:
  Reader(const json& root, std::vector<JsonSchema::Fault>& faults) : root_(root), faults_(faults) {}

  NodePtr read(const json& schema, const std::string& pointer) {
    auto node = std::make_unique<Node>();
    if (schema.is_boolean()) {
      node->never = !schema.get<bool>();
      return node;
    }
    if (!schema.is_object()) {
      fault(pointer, "a schema is an object, true or false");
      return node;
    }
    if (depth_ >= kSchemaDepthMax) {
      fault(pointer, fmt::format("nested deeper than {} schemas", kSchemaDepthMax));
      return node;
    }
    ++depth_;
    if (const auto reference = schema.find("$ref"); reference != schema.end()) {
      NodePtr meant = referred(*reference, pointer + "/$ref");  // beside it nothing counts
      --depth_;
      return meant ? std::move(meant) : std::move(node);
    }
    for (const auto& [keyword, value] : schema.items()) {
      read_value(*node, keyword, value, pointer + "/" + escaped(keyword));
      read_schema(*node, keyword, value, pointer + "/" + escaped(keyword));
    }
    --depth_;
    return node;
  }

 private:
  static std::string escaped(std::string_view token) {
    std::string out;
    for (const char c : token) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return out;
  }

  /// Empty when it may be used.
  std::string refusal_of(const Pattern& pattern) {
    if (!pattern.refused().empty()) return pattern.refused();
    if (pattern.size() > instructions_left_) return "the patterns of this schema are too large";
    instructions_left_ -= pattern.size();
    return {};
  }

  void fault(std::string pointer, std::string what) {
    faults_.push_back({std::move(pointer), std::move(what)});
  }

  NodePtr referred(const json& reference, const std::string& pointer) {
    constexpr std::string_view kDefinitions = "#/definitions/";
    const std::string name = reference.is_string() ? reference.get<std::string>() : std::string();
    const auto definitions = root_.find("definitions");
    if (name.starts_with(kDefinitions) && definitions != root_.end() && definitions->is_object()) {
      const auto found = definitions->find(name.substr(kDefinitions.size()));
      if (found != definitions->end()) return read(*found, pointer);
    }
    fault(pointer, "leads to no schema under #/definitions");
    return nullptr;
  }

  // -- keywords whose value is no schema --

  void read_value(Node& node, const std::string& keyword, const json& value,
                  const std::string& at) {
    if (keyword == "type") return read_types(node, value, at);
    if (keyword == "const") node.constant = value;
    if (keyword == "enum") {
      if (!value.is_array() || value.empty()) return fault(at, "must be a list of values");
      node.choices = value;
    }
    read_number(keyword, "minimum", value, node.minimum, at);
    read_number(keyword, "maximum", value, node.maximum, at);
    read_number(keyword, "exclusiveMinimum", value, node.above, at);
    read_number(keyword, "exclusiveMaximum", value, node.below, at);
    if (keyword == "multipleOf") {
      if (!value.is_number() || value <= 0) return fault(at, "must be a number above zero");
      node.multiple_of = value;
    }
    read_count(keyword, "minLength", value, node.length_min, at);
    read_count(keyword, "maxLength", value, node.length_max, at);
    read_count(keyword, "minItems", value, node.items_min, at);
    read_count(keyword, "maxItems", value, node.items_max, at);
    read_count(keyword, "minProperties", value, node.members_min, at);
    read_count(keyword, "maxProperties", value, node.members_max, at);
    if (keyword == "uniqueItems") {
      if (!value.is_boolean()) return fault(at, "must be true or false");
      node.unique_items = value.get<bool>();
    }
    if (keyword == "required") read_names(node.required, value, at);
    if (keyword == "format" && value.is_string()) {
      for (const FormatName& one : kFormats)
        if (one.name == value.get_ref<const std::string&>()) node.format = one.format;
    }
    if (keyword == "pattern") {
      if (!value.is_string()) return fault(at, "must be a regular expression");
      Pattern pattern(value.get_ref<const std::string&>());
      if (const std::string refused = refusal_of(pattern); !refused.empty())
        return fault(at, refused);
      node.pattern = std::move(pattern);
    }
  }

  void read_types(Node& node, const json& value, const std::string& at) {
    const json list = value.is_array() ? value : json::array({value});
    for (const json& one : list) {
      const unsigned bit = one.is_string() ? bit_of(one.get_ref<const std::string&>()) : 0;
      if (bit == 0) {
        node.types = 0;
        return fault(at, fmt::format("must be of: {}", fmt::join(kTypes, ", ")));
      }
      node.types |= bit;
    }
  }

  void read_number(const std::string& keyword, const char* wanted, const json& value,
                   std::optional<json>& into, const std::string& at) {
    if (keyword != wanted) return;
    if (!value.is_number()) return fault(at, "must be a number");
    into = value;
  }

  void read_count(const std::string& keyword, const char* wanted, const json& value,
                  std::optional<std::uint64_t>& into, const std::string& at) {
    if (keyword != wanted) return;
    if (!value.is_number_unsigned()) return fault(at, "must be a whole number, not below zero");
    into = value.get<std::uint64_t>();
  }

  void read_names(std::vector<std::string>& into, const json& value, const std::string& at) {
    if (!value.is_array()) return fault(at, "must be a list of names");
    for (const json& one : value) {
      if (!one.is_string()) {
        into.clear();
        return fault(at, "must be a list of names");
      }
      into.push_back(one.get<std::string>());
    }
  }

  // -- keywords that hold schemas --

  void read_schema(Node& node, const std::string& keyword, const json& value,
                   const std::string& at) {
    static const std::map<std::string_view, NodePtr Node::*> kOne = {
        {"additionalProperties", &Node::additional_properties},
        {"propertyNames", &Node::property_names},
        {"additionalItems", &Node::additional_items},
        {"contains", &Node::contains},
        {"not", &Node::not_this},
        {"if", &Node::if_this},
        {"then", &Node::then_this},
        {"else", &Node::else_this}};
    const std::size_t faults = faults_.size();
    if (const auto one = kOne.find(keyword); one != kOne.end()) node.*one->second = read(value, at);
    if (keyword == "items" && !value.is_array()) node.items = read(value, at);
    if (keyword == "items" && value.is_array()) read_list(node.first_items, value, at);
    if (keyword == "allOf") read_list(node.all_of, value, at);
    if (keyword == "anyOf") read_list(node.any_of, value, at);
    if (keyword == "oneOf") read_list(node.one_of, value, at);
    if (faults_.size() > faults) soften(node, keyword);
    if (keyword == "properties") {
      if (!value.is_object()) return fault(at, "must be an object of schemas");
      for (const auto& [name, schema] : value.items())
        node.properties[name] = read(schema, at + "/" + escaped(name));
    }
    if (keyword == "patternProperties") read_pattern_properties(node, value, at);
    if (keyword == "dependencies") read_dependencies(node, value, at);
    // Of these only what is referred to counts; but all of it was promised to be a schema.
    if (keyword == "definitions" && value.is_object()) {
      for (const auto& [name, schema] : value.items()) read(schema, at + "/" + escaped(name));
    }
  }

  /// A schema of which something was left out lets more pass than was meant. Where that would
  /// refuse what was meant to pass, it is not asked.
  static void soften(Node& node, const std::string& keyword) {
    if (keyword == "not") node.not_this.reset();
    if (keyword == "if") node.if_this.reset();
    if (keyword == "oneOf") {
      auto any = std::make_unique<Node>();
      any->any_of = std::move(node.one_of);
      node.one_of.clear();
      node.all_of.push_back(std::move(any));
    }
  }

  void read_list(std::vector<NodePtr>& into, const json& value, const std::string& at) {
    if (!value.is_array() || value.empty()) return fault(at, "must be a list of schemas");
    for (std::size_t i = 0; i < value.size(); ++i)
      into.push_back(read(value[i], fmt::format("{}/{}", at, i)));
  }

  void read_pattern_properties(Node& node, const json& value, const std::string& at) {
    if (!value.is_object()) return fault(at, "must be an object of schemas");
    for (const auto& [text, schema] : value.items()) {
      const std::string here = at + "/" + escaped(text);
      NodePtr of_these = read(schema, here);
      Pattern pattern(text);
      if (const std::string refused = refusal_of(pattern); !refused.empty()) {
        // Which members it is for nobody can say: none is refused for being no other.
        fault(here, refused);
        pattern = Pattern("");
        of_these = std::make_unique<Node>();
      }
      node.pattern_properties.emplace_back(std::move(pattern), std::move(of_these));
    }
  }

  void read_dependencies(Node& node, const json& value, const std::string& at) {
    if (!value.is_object()) return fault(at, "must be an object of names or schemas");
    for (const auto& [name, needs] : value.items()) {
      const std::string here = at + "/" + escaped(name);
      Node::Dependency& dependency = node.dependencies[name];
      if (needs.is_array()) {
        read_names(dependency.names, needs, here);
      } else {
        dependency.schema = read(needs, here);
      }
    }
  }

  const json& root_;
  std::vector<JsonSchema::Fault>& faults_;
  std::uint64_t instructions_left_ = kInstructionsMax;
  int depth_ = 0;
};

// ---- the walk --------------------------------------------------------------------------------

/// Thrown when a document takes too long; nothing that is judged later can undo it.
struct TooLong {};

class Walk {
 public:
  explicit Walk(std::uint64_t steps_max) : steps_left_(steps_max) {}

  /// All is looked at, so that the deepest flaw is found.
  bool fits(const Node& node, const json& value) {
    spend(1);
    const std::size_t before = flaws_;
    if (node.never) flaw("nothing is allowed here");
    check_any(node, value);
    if (value.is_number()) check_number(node, value);
    if (value.is_string()) check_text(node, value.get_ref<const std::string&>());
    if (value.is_array()) check_array(node, value);
    if (value.is_object()) check_object(node, value);
    check_combined(node, value);
    return flaws_ == before;
  }

  [[nodiscard]] std::optional<JsonSchema::Flaw> deepest() && { return std::move(deepest_); }

 private:
  void spend(std::uint64_t steps) {
    if (steps > steps_left_) throw TooLong();
    steps_left_ -= steps;
  }

  using Kind = JsonSchema::Flaw::Kind;

  void flaw(std::string what, Kind kind = Kind::other) {
    ++flaws_;
    if (quiet_ > 0) return;
    if (deepest_ && deepest_->place.size() >= place_.size()) return;
    deepest_.emplace();
    deepest_->kind = kind;
    deepest_->place = place_;
    deepest_->what = std::move(what);
  }

  bool fits_at(const Node& node, const json& value, std::string step) {
    place_.push_back(std::move(step));
    const bool fit = fits(node, value);
    place_.pop_back();
    return fit;
  }

  /// Whether it would fit, without a word of what does not.
  bool would_fit(const Node& node, const json& value) {
    const std::size_t before = flaws_;
    ++quiet_;
    const bool fit = fits(node, value);
    --quiet_;
    flaws_ = before;
    return fit;
  }

  void check_any(const Node& node, const json& value) {
    if (node.types != 0 && (node.types & bits_of(value)) == 0)
      flaw(fmt::format("must be {}, is {}", types_in_words(node.types), type_of(value)));
    if (node.constant) {
      spend(size_of(*node.constant));
      if (*node.constant != value) flaw(fmt::format("must be {}", shown(*node.constant)));
    }
    if (!node.choices) return;
    std::vector<std::string> names, words;
    for (const json& choice : *node.choices) {
      spend(size_of(choice));
      if (choice == value) return;
    }
    for (const json& choice : *node.choices) {
      names.push_back(shown(choice));
      if (choice.is_string()) words.push_back(choice.get<std::string>());
    }
    const bool is_word = value.is_string() && words.size() <= kWordsCompared;
    const std::string meant = is_word ? nearest(value.get<std::string>(), words) : "";
    flaw("must be one of: " + some_of(names) +
         (meant.empty() ? "" : fmt::format(". Did you mean '{}'?", meant)));
  }

  void check_number(const Node& node, const json& value) {
    if (node.minimum && value < *node.minimum) flaw("must be at least " + shown(*node.minimum));
    if (node.maximum && value > *node.maximum) flaw("must be at most " + shown(*node.maximum));
    if (node.above && value <= *node.above) flaw("must be above " + shown(*node.above));
    if (node.below && value >= *node.below) flaw("must be below " + shown(*node.below));
    if (node.multiple_of && !is_multiple(value, *node.multiple_of))
      flaw("must be a multiple of " + shown(*node.multiple_of));
  }

  static bool is_multiple(const json& value, const json& of) {
    if (value.is_number_unsigned() && of.is_number_unsigned())
      return value.get<std::uint64_t>() % of.get<std::uint64_t>() == 0;
    if (value.is_number_integer() && of.is_number_unsigned())
      return (0 - value.get<std::uint64_t>()) % of.get<std::uint64_t>() == 0;  // a negative one
    const double quotient = value.get<double>() / of.get<double>();
    return std::abs(quotient - std::round(quotient)) <= 1e-9 * std::max(1.0, std::abs(quotient));
  }

  void check_text(const Node& node, const std::string& text) {
    if (node.length_min || node.length_max) {
      const std::size_t length = characters_of(text);
      if (node.length_min && length < *node.length_min)
        flaw(fmt::format("must have at least {} characters", *node.length_min));
      if (node.length_max && length > *node.length_max)
        flaw(fmt::format("must have at most {} characters", *node.length_max));
    }
    if (!has_format(node.format, text)) flaw("must be a " + format_name(node.format));
    if (node.pattern && !found(*node.pattern, text))
      flaw(fmt::format("must match the pattern '{}'", node.pattern->text()));
  }

  static std::string format_name(Format format) {
    for (const FormatName& one : kFormats)
      if (one.format == format) return std::string(one.name);
    return {};
  }

  bool found(const Pattern& pattern, const std::string& text) {
    spend(pattern.cost(text.size()));
    return pattern.found_in(text);
  }

  void check_array(const Node& node, const json& list) {
    if (node.items_min && list.size() < *node.items_min)
      flaw(fmt::format("must have at least {} items", *node.items_min));
    if (node.items_max && list.size() > *node.items_max)
      flaw(fmt::format("must have at most {} items", *node.items_max));
    if (node.unique_items) check_unique(list);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Node* of = node.items.get();
      if (!node.first_items.empty()) {
        of = i < node.first_items.size() ? node.first_items[i].get() : node.additional_items.get();
      }
      if (of != nullptr) fits_at(*of, list[i], std::to_string(i));
    }
    if (!node.contains) return;
    for (const json& one : list)
      if (would_fit(*node.contains, one)) return;
    flaw("none of the items is what one of them must be");
  }

  void check_unique(const json& list) {
    std::vector<const json*> seen;
    for (const json& one : list) {
      for (const json* other : seen) {
        spend(1 + (one.is_structured() ? size_of(*other) : 0));
        if (*other == one) return flaw("the same item stands in it twice");
      }
      seen.push_back(&one);
    }
  }

  void check_object(const Node& node, const json& object) {
    for (const std::string& name : node.required)
      if (!object.contains(name)) flaw(fmt::format("'{}' is missing", name), Kind::missing);
    if (node.members_min && object.size() < *node.members_min)
      flaw(fmt::format("must have at least {} members", *node.members_min));
    if (node.members_max && object.size() > *node.members_max)
      flaw(fmt::format("must have at most {} members", *node.members_max));
    for (const auto& [name, value] : object.items()) check_member(node, name, value);
    for (const auto& [name, needs] : node.dependencies) {
      if (!object.contains(name)) continue;
      for (const std::string& other : needs.names)
        if (!object.contains(other)) flaw(fmt::format("'{}' needs '{}' beside it", name, other));
      if (needs.schema) fits(*needs.schema, object);
    }
  }

  void check_member(const Node& node, const std::string& name, const json& value) {
    if (node.property_names) fits_at(*node.property_names, json(name), name);
    bool known = false;
    if (const auto own = node.properties.find(name); own != node.properties.end()) {
      known = true;
      fits_at(*own->second, value, name);
    }
    for (const auto& [pattern, schema] : node.pattern_properties) {
      if (!found(pattern, name)) continue;
      known = true;
      fits_at(*schema, value, name);
    }
    if (known || !node.additional_properties) return;
    if (node.additional_properties->never) {
      std::vector<std::string> names;
      for (const auto& [other, schema] : node.properties) names.push_back(other);
      std::string patterns;
      for (const auto& [pattern, schema] : node.pattern_properties)
        patterns += (patterns.empty() ? "" : " or ") + shortened(pattern.text());
      return flaw(names.empty() && !patterns.empty()
                      ? fmt::format("'{}' is not known here; a name here is of the pattern {}",
                                    shortened(name), patterns)
                  : names.empty()
                      ? fmt::format("'{}' is not known here; no member is", shortened(name))
                      : fmt::format("'{}' is not known here; there are: {}", shortened(name),
                                    some_of(names)),
                  Kind::unknown);
    }
    fits_at(*node.additional_properties, value, name);
  }

  void check_combined(const Node& node, const json& value) {
    for (const NodePtr& one : node.all_of) fits(*one, value);
    if (!node.any_of.empty() && count_of(node.any_of, value, 1) == 0)
      flaw("is none of what is allowed here");
    if (!node.one_of.empty()) {
      const std::size_t count = count_of(node.one_of, value, 2);
      if (count == 0) flaw("is none of what is allowed here");
      if (count > 1) flaw("is more than one of what is allowed here, and must be one");
    }
    if (node.not_this && would_fit(*node.not_this, value)) flaw("is what is not allowed here");
    if (!node.if_this) return;
    const bool then = would_fit(*node.if_this, value);
    if (then && node.then_this) fits(*node.then_this, value);
    if (!then && node.else_this) fits(*node.else_this, value);
  }

  /// How many it fits; stops at `enough`.
  std::size_t count_of(const std::vector<NodePtr>& nodes, const json& value, std::size_t enough) {
    std::size_t count = 0;
    for (const NodePtr& one : nodes) {
      count += would_fit(*one, value) ? 1 : 0;
      if (count == enough) break;
    }
    return count;
  }

  static std::uint64_t size_of(const json& value) {
    std::uint64_t size = 1;
    if (value.is_structured())
      for (const json& one : value) size += size_of(one);
    return size;
  }

  static std::string shown(const json& value) {
    return shortened(value.dump(-1, ' ', false, json::error_handler_t::replace));
  }

  std::uint64_t steps_left_;
  std::vector<std::string> place_;
  std::size_t flaws_ = 0;
  int quiet_ = 0;
  std::optional<JsonSchema::Flaw> deepest_;
};

}  // namespace

struct JsonSchema::State {
  NodePtr root;
  std::vector<Fault> faults;
};

JsonSchema::JsonSchema(const json& schema) : state_(std::make_unique<State>()) {
  state_->root = Reader(schema, state_->faults).read(schema, "");
}

JsonSchema::~JsonSchema() = default;

const std::vector<JsonSchema::Fault>& JsonSchema::faults() const { return state_->faults; }

std::optional<JsonSchema::Flaw> JsonSchema::flaw_of(const json& document,
                                                    std::uint64_t steps_max) const {
  Walk walk(steps_max);
  try {
    walk.fits(*state_->root, document);
  } catch (const TooLong&) {
    Flaw flaw;
    flaw.what = "takes too long to judge: fewer values, shorter texts or simpler patterns would do";
    return flaw;
  }
  return std::move(walk).deepest();
}

}  // namespace sluice::contract
