#include "api/entity_lines.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/ascii.hpp"
#include "base/error.hpp"
#include "base/exact_json.hpp"
#include "feed/money.hpp"

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

struct MediaType {
  std::string_view name;
  EntityForm form;
};
constexpr std::array<MediaType, 3> kMediaTypes = {{{"application/json", EntityForm::json},
                                                   {"text/csv", EntityForm::csv},
                                                   {"application/x-ndjson", EntityForm::ndjson}}};

std::string_view take_until(std::string_view& rest, char separator) {
  const auto at = std::min(rest.find(separator), rest.size());
  const std::string_view part = trimmed(rest.substr(0, at));
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return part;
}

/// "q=0.5" in thousandths; a weight that is none is 1.
int weight_of(std::string_view parameters) {
  while (!parameters.empty()) {
    const std::string one = in_lower_case(take_until(parameters, ';'));
    if (!one.starts_with("q=")) continue;
    double weight = 1;
    std::from_chars(one.data() + 2, one.data() + one.size(), weight);
    return static_cast<int>(std::clamp(weight, 0.0, 1.0) * 1000);
  }
  return 1000;
}

bool is_text(const model::StoredAttribute& attribute) {
  return attribute.type == contract::AttributeType::text;
}

/// As a field; quoted also where blanks at its ends could be lost.
std::string csv_field(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_of("\",\r\n") == std::string::npos &&
                     text.front() != ' ' && text.back() != ' ';
  if (plain) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

bool looks_like_a_formula(const std::string& text) {
  return !text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos;
}

}  // namespace

EntityForm entity_form(std::string_view accept) {
  EntityForm best = EntityForm::json;
  int most = 0;
  while (!accept.empty()) {
    std::string_view one = take_until(accept, ',');
    const std::string name = in_lower_case(take_until(one, ';'));
    const auto* const known =
        std::find_if(kMediaTypes.begin(), kMediaTypes.end(),
                     [&](const MediaType& type) { return type.name == name; });
    const bool anything = name == "*/*" || name == "application/*";
    if (known == kMediaTypes.end() && !anything && name != "text/*") continue;
    const int weight = weight_of(one);
    if (weight <= most) continue;
    most = weight;
    best = known != kMediaTypes.end() ? known->form : anything ? EntityForm::json : EntityForm::csv;
  }
  return best;
}

std::string content_type_of(EntityForm form, bool has_header) {
  if (form == EntityForm::csv)
    return fmt::format("text/csv; charset=utf-8; header={}", has_header ? "present" : "absent");
  return form == EntityForm::ndjson ? "application/x-ndjson" : "application/json";
}

EntityLines::EntityLines(const model::StoredType& type, LineWish wish) : wish_(std::move(wish)) {
  if (wish_.form != EntityForm::csv) return;
  const auto add = [this](std::string title, const char* place, bool text) {
    columns_.push_back(Column{std::move(title), json::json_pointer(place), text, false});
  };
  const auto add_attribute = [&](const std::string& name, bool text) {
    json::json_pointer place("/attributes");
    place.push_back(name);
    const model::StoredAttribute* const attribute = type.find(name);
    const bool is_json = attribute != nullptr && attribute->type == contract::AttributeType::json;
    columns_.push_back(Column{name, std::move(place), text, is_json});
  };
  add("id", "/id", false);
  if (!type.own) {
    add("external_id", "/external_id", true);
    add("connection", "/provenance/connection", true);
  }
  const std::vector<feed::MajorUnits> amounts = feed::major_units_of(type);
  const auto add_declared = [&](const model::StoredAttribute& attribute) {
    add_attribute(attribute.name, is_text(attribute));
    for (const feed::MajorUnits& amount : amounts)
      if (amount.attribute->name == attribute.name) add_attribute(amount.name, false);
  };
  for (const std::string& field : wish_.fields) {
    if (field == "extra" && !type.own && type.find(field) == nullptr) {
      columns_.push_back(Column{field, json::json_pointer("/extra"), false, true});
      continue;
    }
    const model::StoredAttribute* const attribute = type.find(field);
    add_attribute(field, attribute != nullptr && is_text(*attribute));
  }
  if (wish_.fields.empty()) {
    for (const model::StoredAttribute& attribute : type.attributes)
      if (attribute.name == type.display_attribute) add_declared(attribute);
    for (const model::StoredAttribute& attribute : type.attributes)
      if (attribute.name != type.display_attribute) add_declared(attribute);
  }
  if (wish_.with_deleted) add("deleted_at", "/provenance/deleted_at", false);
}

std::string EntityLines::header() const {
  std::string text;
  if (wish_.form != EntityForm::csv) return text;
  if (wish_.for_spreadsheets) text = kByteOrderMark;
  for (const Column& column : columns_) {
    if (&column != &columns_.front()) text += ',';
    text += csv_field(column.title);
  }
  return text.append(kLineEnd);
}

std::string EntityLines::lines(const std::vector<json>& entities) const {
  std::string text;
  for (const json& entity : entities) {
    if (wish_.form == EntityForm::csv) {
      add_line(entity, text);
    } else {
      text += write_json(entity);
      text += '\n';
    }
  }
  return text;
}

void EntityLines::add_line(const json& entity, std::string& text) const {
  if (entity.at("attributes").is_null()) {
    const json& problem = entity.at("problem");
    throw Failure(Error(
        ErrorKind::internal, "entity.unreadable",
        fmt::format("entity {} cannot be read: {}", entity.at("id").get_ref<const std::string&>(),
                    problem.value("message", std::string())),
        problem.value("hint", std::string())));
  }
  for (const Column& column : columns_) {
    if (&column != &columns_.front()) text += ',';
    const json* const value = entity.contains(column.place) ? &entity.at(column.place) : nullptr;
    if (value == nullptr || value->is_null()) continue;
    const bool bare = value->is_string() && !column.is_json;
    std::string field = bare ? value->get<std::string>() : write_json(*value);
    if (wish_.for_spreadsheets && column.is_text && looks_like_a_formula(field))
      field.insert(field.begin(), '\'');
    text += csv_field(field);
  }
  text += kLineEnd;
}

}  // namespace sluice::api
