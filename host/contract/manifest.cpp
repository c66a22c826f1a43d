// From a manifest's bytes, which nobody has vouched for yet, to a Manifest. Four passes, each of
// which relies on the one before: shape of the JSON (depth, unique keys, string sizes), schema,
// references, values.
#include "contract/manifest.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <set>
#include <stdexcept>

#include "base/printable.hpp"
#include "contract/host_headers.hpp"
#include "contract/json_schema.hpp"
#include "contract/manifest_schema.hpp"
#include "contract/reserved_names.hpp"

namespace sluice::contract {
namespace {

using nlohmann::json;

constexpr std::size_t kManifestBytesMax = 256 * 1024;
constexpr int kDepthMax = 32;
constexpr std::size_t kStringBytesMax = 4096;
constexpr std::size_t kTableNameBytesMax = 63;
constexpr std::size_t kColumnNameBytesMax = 63;
/// More than what 256 KiB of manifest take.
constexpr std::uint64_t kSchemaStepsMax = 10'000'000;

/// Thrown by the passes below, turned into an Error by parse_manifest.
struct Invalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void refuse(std::string_view pointer, std::string_view what) {
  throw Invalid(fmt::format("{}: {}", pointer.empty() ? "/" : pointer, what));
}

std::string escape_pointer_token(std::string_view token) {
  std::string out;
  for (const char c : token) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

std::string shorten(std::string text) {
  constexpr std::size_t kShown = 80;
  if (text.size() <= kShown) return text;
  std::size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

std::string quote(const json& value) {
  return shorten(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

/// ---- 1. the JSON's shape ----

/// Watches the parser's events: where it is, which keys each open object has seen, how deep it is.
class ShapeCheck {
 public:
  bool operator()(int, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        open(false);
        break;
      case json::parse_event_t::array_start:
        open(true);
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        frames_.pop_back();
        break;
      case json::parse_event_t::key:
        key(parsed.get_ref<const std::string&>());
        break;
      case json::parse_event_t::value:
        next_element();
        if (parsed.is_string()) check_string(parsed.get_ref<const std::string&>());
        break;
    }
    return true;
  }

 private:
  struct Frame {
    bool is_array = false;
    std::int64_t index = -1;
    std::string key;
    std::set<std::string, std::less<>> keys;
  };

  void open(bool is_array) {
    next_element();
    if (frames_.size() >= kDepthMax) {
      refuse(where(), fmt::format("nested deeper than {} levels", kDepthMax));
    }
    frames_.push_back({.is_array = is_array, .index = -1, .key = {}, .keys = {}});
  }

  void next_element() {
    if (!frames_.empty() && frames_.back().is_array) ++frames_.back().index;
  }

  void key(const std::string& name) {
    Frame& frame = frames_.back();
    frame.key = name;
    check_string(name);
    if (!frame.keys.insert(name).second) refuse(where(), "this key stands twice in its object");
  }

  void check_string(const std::string& text) const {
    if (text.size() > kStringBytesMax) {
      refuse(where(), fmt::format("a string of {} bytes; at most {} are allowed", text.size(),
                                  kStringBytesMax));
    }
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
        refuse(where(), fmt::format("a string with the control character U+{:04X}",
                                    static_cast<unsigned>(static_cast<unsigned char>(c))));
      }
    }
  }

  [[nodiscard]] std::string where() const {
    std::string pointer;
    for (const Frame& frame : frames_) {
      if (frame.is_array) {
        if (frame.index >= 0) pointer += fmt::format("/{}", frame.index);
      } else if (!frame.key.empty()) {
        pointer += "/" + shorten(escape_pointer_token(frame.key));
      }
    }
    return pointer;
  }

  std::vector<Frame> frames_;
};

json parse_shape(std::string_view text) {
  if (text.size() > kManifestBytesMax) {
    refuse("", fmt::format("the manifest has {} bytes; at most {} are allowed", text.size(),
                           kManifestBytesMax));
  }
  ShapeCheck check;
  try {
    return json::parse(text.begin(), text.end(), std::ref(check));
  } catch (const json::exception& e) {
    refuse("", fmt::format("no valid JSON: {}", shorten(e.what())));
  }
}

/// ---- 2. the schema ----

std::string pointer_of(const std::vector<std::string>& place) {
  std::string pointer;
  for (const std::string& step : place) pointer += "/" + escape_pointer_token(step);
  return pointer;
}

std::string standing_there(const json& document, const std::string& pointer) {
  const json::json_pointer place(pointer);
  return document.contains(place) ? quote(document.at(place)) : "nothing";
}

/// What a rule finds. Rules that were always there refuse; of a manifest that a host admitted
/// before, those that came later only say so.
class Verdict {
 public:
  Verdict(Manifest& manifest, Admission admission) : manifest_(manifest), admission_(admission) {}

  void younger(std::string pointer, std::string what) {
    if (admission_ == Admission::now) refuse(pointer, what);
    manifest_.flaws.push_back(ManifestFlaw{std::move(pointer), std::move(what)});
  }

 private:
  Manifest& manifest_;
  Admission admission_;
};

/// What an author meant is seldom what the schema's own words lead to here.
constexpr std::string_view kExponentsInWords =
    "; currency_exponents has a currency's code in small letters and how many digits of an amount "
    "stand behind the point, 0 to 18: {\"isk\": 2}";

/// Of one admitted before, too: the schema may have become stricter, and what cannot be read at all
/// is refused by the reading.
void check_schema(const json& document, Verdict& verdict) {
  static const JsonSchema schema(json::parse(kManifestSchema));
  const std::optional<JsonSchema::Flaw> flaw = schema.flaw_of(document, kSchemaStepsMax);
  if (!flaw) return;
  const std::string pointer = pointer_of(flaw->place);
  const bool exponents = !flaw->place.empty() && flaw->place.front() == "currency_exponents";
  verdict.younger(
      pointer, fmt::format("{} (here stands: {}){}", flaw->what, standing_there(document, pointer),
                           exponents ? kExponentsInWords : ""));
}

/// ---- 3. into values ----

std::string text_of(const json& object, const char* key, std::string fallback = {}) {
  return object.value(key, std::move(fallback));
}

const json& list_of(const json& object, const char* key) {
  static const json kEmpty = json::array();
  const auto found = object.find(key);
  return found == object.end() ? kEmpty : *found;
}

EntityType read_type(const json& object) {
  EntityType type;
  type.name = object.at("name");
  type.display_name = text_of(object, "display_name", type.name);
  type.display_attribute = text_of(object, "display_attribute");
  for (const json& from : object.at("attributes")) {
    Attribute& attribute = type.attributes.emplace_back();
    attribute.name = from.at("name");
    attribute.type = attribute_type(from.at("type").get<std::string>()).value();
    attribute.format = text_of(from, "format");
    attribute.currency = text_of(from, "currency");
    attribute.description = text_of(from, "description");
    attribute.is_protected = from.value("protected", false);
    attribute.required = from.value("required", false);
    attribute.personal = from.value("personal", false);
  }
  for (const json& from : list_of(object, "relationships")) {
    type.relationships.push_back(Relationship{.name = from.at("name"),
                                              .attribute = from.at("attribute"),
                                              .target = from.at("target"),
                                              .is_protected = from.value("protected", true)});
  }
  for (const json& from : list_of(object, "link_keys")) {
    type.link_keys.push_back(LinkKey{.attribute = from.at("attribute"),
                                     .kind = key_kind(from.at("kind").get<std::string>()).value()});
  }
  return type;
}

Stream read_stream(const json& object) {
  Stream stream;
  stream.name = object.at("name");
  const std::string mode = object.at("mode");
  stream.mode = mode == "snapshot"  ? StreamMode::snapshot
                : mode == "changes" ? StreamMode::changes
                                    : StreamMode::poll;
  stream.entity_types = object.at("entity_types").get<std::vector<std::string>>();
  stream.enumerates = object.value("enumerates", std::vector<std::string>{});
  stream.interval_seconds = object.value("interval_seconds", std::int64_t{0});
  stream.description = text_of(object, "description");
  return stream;
}

AuthSlot read_auth(const json& object) {
  AuthSlot slot;
  slot.name = object.at("name");
  const std::string scheme = object.at("scheme");
  slot.scheme = scheme == "bearer"   ? AuthScheme::bearer
                : scheme == "basic"  ? AuthScheme::basic
                : scheme == "header" ? AuthScheme::header
                                     : AuthScheme::query;
  slot.secret = text_of(object, "secret", slot.name);
  slot.parameter = text_of(object, "parameter");
  slot.label = text_of(object, "label", slot.name);
  slot.hint = text_of(object, "hint");
  return slot;
}

LinkRule read_rule(const json& object) {
  const auto split = [](const std::string& path) {
    const std::size_t dot = path.find('.');
    return std::pair(path.substr(0, dot), path.substr(dot + 1));
  };
  LinkRule rule;
  rule.name = object.at("name");
  std::tie(rule.source_type, rule.source_attribute) = split(object.at("source"));
  std::tie(rule.target_type, rule.target_attribute) = split(object.at("target"));
  rule.kind = key_kind(object.at("kind").get<std::string>()).value();
  return rule;
}

Manifest read_manifest(json document) {
  Manifest out;
  out.id = document.at("id");
  out.version = document.at("version");
  out.display_name = document.at("display_name");
  out.vendor_url = text_of(document, "vendor_url");
  for (const json& host : document.at("hosts")) {
    out.hosts.push_back(Host{.name = host.at("name"), .url = host.at("url")});
  }
  out.config_schema = document.value("config_schema", json::object());
  for (const json& slot : list_of(document, "auth")) out.auth.push_back(read_auth(slot));
  const json budget = document.value("rate_budget", json::object());
  out.budget.requests_per_second = budget.value("requests_per_second", 10.0);
  out.budget.requests_per_second_test =
      budget.value("requests_per_second_test", out.budget.requests_per_second);
  out.budget.concurrency = budget.value("concurrency", 4);
  if (const auto headers = budget.find("headers"); headers != budget.end()) {
    out.budget.headers.limit = text_of(*headers, "limit");
    out.budget.headers.remaining = headers->at("remaining");
    out.budget.headers.reset = headers->at("reset");
    out.budget.headers.unit = reset_unit(text_of(*headers, "reset_unit", "seconds")).value();
  }
  out.operations = document.at("operations").get<std::vector<std::string>>();
  for (const json& stream : document.at("streams")) out.streams.push_back(read_stream(stream));
  for (const json& type : document.at("entity_types")) out.entity_types.push_back(read_type(type));
  for (const json& rule : list_of(document, "link_rules"))
    out.link_rules.push_back(read_rule(rule));
  out.currency_exponents = document.value("currency_exponents", json::object());
  out.checkpoint_reads = {1};
  if (const auto formats = document.find("checkpoint_formats"); formats != document.end()) {
    out.checkpoint_reads = formats->at("reads").get<std::vector<std::uint32_t>>();
    out.checkpoint_writes = formats->at("writes");
  }
  out.document = std::move(document);
  return out;
}

/// ---- 4. what a schema cannot say ----

/// Refuses the second of two equal names in one list.
class Unique {
 public:
  void add(const std::string& name, const std::string& pointer) {
    if (!seen_.insert(name).second) {
      refuse(pointer, fmt::format("'{}' stands in this list already; names are unique", name));
    }
  }

 private:
  std::set<std::string> seen_;
};

bool has_config_property(const Manifest& manifest, const std::string& name) {
  const auto properties = manifest.config_schema.find("properties");
  return properties != manifest.config_schema.end() && properties->is_object() &&
         properties->contains(name);
}

/// Each {name} of a template must be a property of the configuration, or `also`.
void check_template(const Manifest& manifest, const std::string& text, std::string_view also,
                    const std::string& pointer) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '}') refuse(pointer, fmt::format("'{}': '}}' without '{{'", text));
    if (text[at] != '{') continue;
    const std::size_t end = text.find('}', at);
    if (end == std::string::npos) refuse(pointer, fmt::format("'{}': '{{' without '}}'", text));
    const std::string name = text.substr(at + 1, end - at - 1);
    if (name != also && !has_config_property(manifest, name)) {
      refuse(pointer, fmt::format("'{{{}}}' is no property of config_schema", name));
    }
    at = end;
  }
}

void refuse_references(const json& node, const std::string& pointer) {
  if (node.is_object()) {
    for (const auto& [key, value] : node.items()) {
      const std::string here = pointer + "/" + escape_pointer_token(key);
      if (key == "$ref") refuse(here, "$ref is not allowed in a configuration schema");
      refuse_references(value, here);
    }
  } else if (node.is_array()) {
    for (std::size_t i = 0; i < node.size(); ++i) {
      refuse_references(node[i], fmt::format("{}/{}", pointer, i));
    }
  }
}

void check_config_schema(const Manifest& manifest, Verdict& verdict) {
  refuse_references(manifest.config_schema, "/config_schema");
  const auto type = manifest.config_schema.find("type");
  if (type != manifest.config_schema.end() && *type != "object") {
    verdict.younger(
        "/config_schema/type",
        fmt::format("a configuration is an object, and could never be {}", quote(*type)));
  }
  const JsonSchema schema(manifest.config_schema);
  for (const JsonSchema::Fault& fault : schema.faults())
    verdict.younger("/config_schema" + fault.pointer, fault.what);
}

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

/// Letters, digits and hyphens in at least two labels; a placeholder may stand for a label.
bool is_vendors_name(std::string_view host) {
  for (bool first = true;; first = false) {
    const std::size_t dot = host.find('.');
    const std::string_view label = host.substr(0, dot);
    const bool placeholder = label.starts_with('{') && label.ends_with('}');
    const bool plain = label.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") ==
                       std::string_view::npos;
    if (label.empty() || (!placeholder && !plain)) return false;
    if (dot == std::string_view::npos) {
      const bool address = label.front() >= '0' && label.front() <= '9';
      return !address && (!first || placeholder);
    }
    host.remove_prefix(dot + 1);
  }
}

/// What no connection could ever send a request to.
void check_url(const std::string& url, const std::string& pointer, Verdict& verdict) {
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return;  // the schema said so
  const std::string_view rest = std::string_view(url).substr(kScheme.size());
  const std::size_t slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos && rest.ends_with('/')) {
    verdict.younger(pointer,
                    fmt::format("'{}' ends in '/', and every target begins with one", url));
  }
  const std::size_t colon = authority.find(':');
  const std::string_view host = authority.substr(0, colon);
  if (colon != std::string_view::npos && !is_port(authority.substr(colon + 1))) {
    verdict.younger(pointer,
                    fmt::format("'{}' is no port: 1 to 65535", authority.substr(colon + 1)));
  }
  if (!is_vendors_name(host))
    verdict.younger(pointer, fmt::format("'{}' is not a vendor's DNS name", host));
}

void check_hosts_and_auth(const Manifest& manifest, Verdict& verdict) {
  Unique hosts;
  for (std::size_t i = 0; i < manifest.hosts.size(); ++i) {
    const Host& host = manifest.hosts[i];
    const std::string pointer = fmt::format("/hosts/{}", i);
    hosts.add(host.name, pointer + "/name");
    check_template(manifest, host.url, {}, pointer + "/url");
    for (const char c : host.url) {
      if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7F ||
          std::string_view("@?#\\\"<>*").find(c) != std::string_view::npos) {
        refuse(pointer + "/url",
               fmt::format("'{}' may hold scheme, host, port and path only", host.url));
      }
    }
    check_url(host.url, pointer + "/url", verdict);
  }
  Unique slots;
  for (std::size_t i = 0; i < manifest.auth.size(); ++i) {
    const AuthSlot& slot = manifest.auth[i];
    const std::string pointer = fmt::format("/auth/{}", i);
    slots.add(slot.name, pointer + "/name");
    const std::string place = pointer + "/parameter";
    if (slot.scheme == AuthScheme::bearer) continue;
    if (slot.parameter.empty()) {
      refuse(place,
             "missing: header needs the header's name, query the parameter's, basic a "
             "template such as '{secret}:'");
    }
    if (slot.scheme == AuthScheme::basic) {
      check_template(manifest, slot.parameter, "secret", place);
      if (slot.parameter.find("{secret}") == std::string::npos) {
        refuse(place, fmt::format("'{}' does not hold {{secret}}", slot.parameter));
      }
    } else if (slot.parameter.find_first_not_of(
                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                   "0123456789-_") != std::string::npos) {
      refuse(place, fmt::format("'{}' is no name: letters, digits, '-' and '_'", slot.parameter));
    } else if (slot.scheme == AuthScheme::header &&
               host_header(slot.parameter) == HostHeader::transport) {
      verdict.younger(place, fmt::format("'{}' is a header that only the host may set: it says "
                                         "where a request goes or ends, not who asks",
                                         slot.parameter));
    }
  }
}

const Attribute& need_attribute(const EntityType& type, const std::string& name,
                                const std::string& pointer) {
  const auto index = type.attribute_index(name);
  if (!index) {
    refuse(pointer, fmt::format("'{}' is no attribute of entity type '{}'", name, type.name));
  }
  return type.attributes[*index];
}

void need_text_attribute(const EntityType& type, const std::string& name,
                         const std::string& pointer) {
  const Attribute& attribute = need_attribute(type, name, pointer);
  if (attribute.type != AttributeType::text) {
    refuse(pointer,
           fmt::format("attribute '{}' is {}; it must be text", name, to_string(attribute.type)));
  }
}

std::string_view in_words(ReservedBy by) {
  switch (by) {
    case ReservedBy::table:
      return "every entity has a column of that name";
    case ReservedBy::database:
      return "PostgreSQL has a column of that name in every table";
    case ReservedBy::view:
      return "the SQL view of every type has a column of that name";
  }
  return {};
}

/// An amount and its currency need each other: neither means anything alone.
void check_money(const EntityType& type, const std::string& pointer, Verdict& verdict) {
  for (std::size_t i = 0; i < type.attributes.size(); ++i) {
    const Attribute& attribute = type.attributes[i];
    const std::string place = fmt::format("{}/attributes/{}", pointer, i);
    if (attribute.format != kMinorUnits) {
      if (!attribute.currency.empty()) {
        verdict.younger(
            place + "/format",
            fmt::format("an attribute with a currency has the format '{}'", kMinorUnits));
      }
      continue;
    }
    if (attribute.type != AttributeType::integer && attribute.type != AttributeType::decimal) {
      verdict.younger(place + "/type",
                      fmt::format("an amount in minor units is integer or decimal, "
                                  "never {}",
                                  to_string(attribute.type)));
    }
    const auto currency = type.attribute_index(attribute.currency);
    if (attribute.currency.empty()) {
      verdict.younger(place + "/currency",
                      "missing: an amount in minor units names the attribute with its currency");
    } else if (!currency || type.attributes[*currency].type != AttributeType::text) {
      verdict.younger(place + "/currency",
                      fmt::format("'{}' is no text attribute of entity type '{}'",
                                  attribute.currency, type.name));
    }
    const std::string major = major_name(attribute.name);
    if (major.size() > kColumnNameBytesMax) {
      verdict.younger(
          place + "/name",
          fmt::format("'{}' has {} letters, and an amount's name at most {}: in major units it is "
                      "called '{}', and a column's name has at most {}",
                      attribute.name, attribute.name.size(),
                      kColumnNameBytesMax - (major.size() - attribute.name.size()), major,
                      kColumnNameBytesMax));
    }
    if (const auto taken = type.attribute_index(major)) {
      verdict.younger(fmt::format("{}/attributes/{}/name", pointer, *taken),
                      fmt::format("'{}' is reserved: it is what '{}' is called in major units",
                                  type.attributes[*taken].name, attribute.name));
    }
  }
}

/// Of two such times nobody could tell which one a change happened at.
void check_times(const EntityType& type, const std::string& pointer, Verdict& verdict) {
  for (const std::string_view format : {kModifiedAt, kCreatedAt}) {
    const Attribute* first = nullptr;
    for (std::size_t i = 0; i < type.attributes.size(); ++i) {
      const Attribute& attribute = type.attributes[i];
      if (attribute.format != format) continue;
      const std::string place = fmt::format("{}/attributes/{}/format", pointer, i);
      if (attribute.type != AttributeType::timestamp) {
        verdict.younger(place, fmt::format("an attribute of format '{}' is timestamp, never {}",
                                           format, to_string(attribute.type)));
      } else if (first != nullptr) {
        verdict.younger(place,
                        fmt::format("'{}' has the format '{}' already", first->name, format));
      } else {
        first = &attribute;
      }
    }
  }
}

void check_type(const Manifest& manifest, const EntityType& type, const std::string& pointer,
                Verdict& verdict) {
  const std::size_t table_bytes = manifest.id.size() + 1 + type.name.size();
  if (table_bytes > kTableNameBytesMax) {
    refuse(pointer + "/name", fmt::format("table name '{}_{}' has {} bytes; at most {} are allowed",
                                          manifest.id, type.name, table_bytes, kTableNameBytesMax));
  }
  Unique attributes;
  for (std::size_t i = 0; i < type.attributes.size(); ++i) {
    const std::string& name = type.attributes[i].name;
    const std::string place = fmt::format("{}/attributes/{}/name", pointer, i);
    attributes.add(name, place);
    if (const auto by = reserved_by(name)) {
      verdict.younger(place, fmt::format("'{}' is reserved: {}", name, in_words(*by)));
    }
  }
  check_money(type, pointer, verdict);
  check_times(type, pointer, verdict);
  if (!type.display_attribute.empty()) {
    need_attribute(type, type.display_attribute, pointer + "/display_attribute");
  }
  Unique relationships;
  for (std::size_t i = 0; i < type.relationships.size(); ++i) {
    const Relationship& edge = type.relationships[i];
    const std::string place = fmt::format("{}/relationships/{}", pointer, i);
    relationships.add(edge.name, place + "/name");
    need_text_attribute(type, edge.attribute, place + "/attribute");
    if (!manifest.type_index(edge.target)) {
      refuse(place + "/target",
             fmt::format("'{}' is no entity type of this connector", edge.target));
    }
    for (const std::string& shown : {edge.attribute, edge.name}) {
      const auto index = type.attribute_index(reference_column(shown));
      if (!index) continue;
      verdict.younger(fmt::format("{}/attributes/{}/name", pointer, *index),
                      fmt::format("'{}' is reserved: the SQL view has a column of that name, for "
                                  "what '{}' refers to",
                                  type.attributes[*index].name, shown));
      break;
    }
  }
  Unique keys;
  for (std::size_t i = 0; i < type.link_keys.size(); ++i) {
    const LinkKey& key = type.link_keys[i];
    const std::string place = fmt::format("{}/link_keys/{}", pointer, i);
    need_text_attribute(type, key.attribute, place + "/attribute");
    keys.add(fmt::format("{} as {}", key.attribute, to_string(key.kind)), place);
  }
}

/// Forgotten, a stream that is to be read again and again would be read once, and nobody would hear
/// of it; so that it is only read when somebody asks has to be said, too.
void check_interval(const json& declared, StreamMode mode, const std::string& pointer,
                    Verdict& verdict) {
  if (mode == StreamMode::snapshot || declared.contains("interval_seconds")) return;
  verdict.younger(
      pointer + "/interval_seconds",
      fmt::format("missing: a '{}' stream says how often it is read, or 0 for only when "
                  "somebody asks (SLP-M01)",
                  declared.at("mode").get<std::string>()));
}

void check_streams(const Manifest& manifest, Verdict& verdict) {
  Unique names;
  std::set<std::string> read_types;
  for (std::size_t i = 0; i < manifest.streams.size(); ++i) {
    const Stream& stream = manifest.streams[i];
    const std::string pointer = fmt::format("/streams/{}", i);
    names.add(stream.name, pointer + "/name");
    for (std::size_t k = 0; k < stream.entity_types.size(); ++k) {
      if (!manifest.type_index(stream.entity_types[k])) {
        refuse(fmt::format("{}/entity_types/{}", pointer, k),
               fmt::format("'{}' is no entity type of this connector", stream.entity_types[k]));
      }
      read_types.insert(stream.entity_types[k]);
    }
    for (std::size_t k = 0; k < stream.enumerates.size(); ++k) {
      const bool listed =
          std::ranges::find(stream.entity_types, stream.enumerates[k]) != stream.entity_types.end();
      if (listed && stream.mode == StreamMode::snapshot) continue;
      refuse(fmt::format("{}/enumerates/{}", pointer, k),
             listed
                 ? "only a 'snapshot' stream can put out every entity there is"
                 : fmt::format("'{}' is not in this stream's entity_types", stream.enumerates[k]));
    }
    if (stream.mode == StreamMode::changes && !manifest.supports("fetch")) {
      refuse(pointer + "/mode",
             "a 'changes' stream says only what changed, and the truth is read by "
             "'fetch', which /operations does not list");
    }
    check_interval(manifest.document.at("streams").at(i), stream.mode, pointer, verdict);
  }
  if (!manifest.streams.empty() && !manifest.supports("read")) {
    refuse("/operations", "there are streams, but 'read' is not listed");
  }
  for (std::size_t i = 0; i < manifest.entity_types.size(); ++i) {
    if (!read_types.contains(manifest.entity_types[i].name)) {
      refuse(fmt::format("/entity_types/{}/name", i),
             fmt::format("no stream lists entity type '{}'", manifest.entity_types[i].name));
    }
  }
}

void check_rules(const Manifest& manifest) {
  Unique names;
  for (std::size_t i = 0; i < manifest.link_rules.size(); ++i) {
    const LinkRule& rule = manifest.link_rules[i];
    const std::string pointer = fmt::format("/link_rules/{}", i);
    names.add(rule.name, pointer + "/name");
    const auto type = manifest.type_index(rule.source_type);
    if (!type) {
      refuse(pointer + "/source",
             fmt::format("'{}' is no entity type of this connector", rule.source_type));
    }
    need_text_attribute(manifest.entity_types[*type], rule.source_attribute, pointer + "/source");
  }
}

void check_references(const Manifest& manifest, Verdict& verdict) {
  check_config_schema(manifest, verdict);
  check_hosts_and_auth(manifest, verdict);
  Unique types;
  for (std::size_t i = 0; i < manifest.entity_types.size(); ++i) {
    const std::string pointer = fmt::format("/entity_types/{}", i);
    types.add(manifest.entity_types[i].name, pointer + "/name");
    check_type(manifest, manifest.entity_types[i], pointer, verdict);
  }
  check_streams(manifest, verdict);
  check_rules(manifest);
  const auto& reads = manifest.checkpoint_reads;
  if (std::find(reads.begin(), reads.end(), manifest.checkpoint_writes) == reads.end()) {
    refuse("/checkpoint_formats/reads",
           fmt::format("format {} is written but not read", manifest.checkpoint_writes));
  }
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text, Admission admission) {
  try {
    json document = parse_shape(text);
    Manifest manifest;
    Verdict verdict(manifest, admission);
    check_schema(document, verdict);
    std::vector<ManifestFlaw> flaws = std::move(manifest.flaws);
    manifest = read_manifest(std::move(document));
    manifest.flaws = std::move(flaws);
    check_references(manifest, verdict);
    return manifest;
  } catch (const std::exception& e) {
    return fail(ErrorKind::bad_input, "manifest.invalid", "manifest: " + printable(e.what()),
                "Correct the connector's manifest.json (plugin-api/manifest.schema.json) and build "
                "it again");
  }
}

}  // namespace sluice::contract
