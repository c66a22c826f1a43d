#include "replay/trace.hpp"

#include <chrono>
#include <cstdio>
#include <set>

namespace sluice::replay {
namespace {

using Json = nlohmann::json;

std::string quoted(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool declared(const std::string& type, sluice_kind kind) {
  switch (kind) {
    case SLUICE_NULL:
      return true;
    case SLUICE_BOOL:
      return type == "boolean";
    case SLUICE_INT64:
      return type == "integer" || type == "decimal" || type == "number";
    case SLUICE_DOUBLE:
      return type == "number";
    case SLUICE_DECIMAL:
      return type == "decimal";
    case SLUICE_STRING:
      return type == "text";
    case SLUICE_RAW:
      return type == "bytes";
    case SLUICE_TIMESTAMP:
      return type == "timestamp";
    case SLUICE_DATE:
      return type == "date";
    case SLUICE_JSON:
      return type == "json";
    default:
      return false;
  }
}

std::string value_text(const sluice_value& value) {
  switch (value.kind) {
    case SLUICE_NULL:
      return "null";
    case SLUICE_BOOL:
      return value.number != 0 ? "true" : "false";
    case SLUICE_INT64:
      return std::to_string(value.number);
    case SLUICE_DOUBLE:
      return Json(value.real).dump();
    case SLUICE_DECIMAL:
      return std::string(view(value.text)) + "d";
    case SLUICE_STRING:
      return quoted(view(value.text));
    case SLUICE_RAW:
      return "raw" + quoted(view(value.text));
    case SLUICE_TIMESTAMP:
      return time_text(value.number);
    case SLUICE_DATE:
      return "day " + std::to_string(value.number);
    case SLUICE_JSON:
      return "json" + std::string(view(value.text));
    default:
      return "kind " + std::to_string(value.kind);
  }
}

std::string type_name(const Json& manifest, std::uint32_t type) {
  if (type >= manifest["entity_types"].size()) return std::string("?").append(std::to_string(type));
  return manifest["entity_types"][type]["name"].get<std::string>();
}

}  // namespace

std::string decoded(std::string_view target) {
  std::string out;
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i] == '%' && i + 2 < target.size()) {
      out += static_cast<char>(std::stoi(std::string(target.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += target[i];
    }
  }
  return out;
}

std::string time_text(std::int64_t micros) {
  using namespace std::chrono;
  const sys_time<microseconds> moment{microseconds(micros)};
  const auto day = floor<days>(moment);
  const year_month_day date(day);
  const hh_mm_ss time(moment - day);
  char text[64];
  std::snprintf(text, sizeof(text), "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  std::string out = text;
  if (time.subseconds().count() != 0) out += "." + std::to_string(time.subseconds().count()) + "µs";
  return out + "Z";
}

std::string record_text(const Json& manifest, const sluice_record& record) {
  std::string out =
      "record " + type_name(manifest, record.type) + " " +
      (record.external_id.size == 0 ? "(none)" : std::string(view(record.external_id)));
  if ((record.flags & SLUICE_RECORD_DELETED) != 0) out += " DELETED";
  if (record.source_version != 0) out += " version=" + std::to_string(record.source_version);
  if (record.source_url.size != 0) out += " url=" + std::string(view(record.source_url));
  const Json& attributes = manifest["entity_types"][record.type]["attributes"];
  for (std::uint32_t i = 0; i < record.value_count; ++i) {
    const sluice_value& value = record.values[i];
    const Json& attribute = attributes.at(value.attribute);
    out += " " + attribute["name"].get<std::string>() + "=";
    if (!declared(attribute["type"].get<std::string>(), value.kind)) out += "!";
    out += value_text(value);
  }
  for (std::uint32_t i = 0; i < record.named_count; ++i) {
    out += " +" + std::string(view(record.named_values[i].name)) + "=" +
           value_text(record.named_values[i].value);
  }
  return out;
}

std::string notice_text(const Json& manifest, const sluice_notice& notice) {
  std::string out =
      "notice " + type_name(manifest, notice.type) + " " + std::string(view(notice.external_id));
  out += notice.kind == SLUICE_NOTICE_CHANGED   ? " changed"
         : notice.kind == SLUICE_NOTICE_DELETED ? " deleted"
                                                : " merged";
  if (notice.merged_into.size != 0) out += " into " + std::string(view(notice.merged_into));
  return out + " at " + time_text(notice.observed_at);
}

std::string set_text(const Json& manifest, const sluice_complete_set& set) {
  std::string out = "set " + type_name(manifest, set.type) + " where ";
  out += manifest["entity_types"][set.type]["attributes"][set.attribute]["name"].get<std::string>();
  out += " = " + std::string(view(set.equals)) + ":";
  for (std::uint32_t i = 0; i < set.id_count; ++i) out += " " + std::string(view(set.ids[i]));
  return out;
}

std::string failure_text(const sluice_failure& failure) {
  static constexpr const char* kClasses[] = {"?",
                                             "AUTH",
                                             "PERMISSION",
                                             "RATE_LIMITED",
                                             "UPSTREAM_TRANSIENT",
                                             "UPSTREAM_PERMANENT",
                                             "BAD_DATA",
                                             "CONFIG",
                                             "CHECKPOINT_REJECTED",
                                             "CANCELLED",
                                             "INTERNAL"};
  const bool known = failure.failure_class >= 1 && failure.failure_class <= 10;
  std::string out = std::string("failed ") + kClasses[known ? failure.failure_class : 0];
  if (failure.vendor_code.size != 0) out += " code=" + std::string(view(failure.vendor_code));
  if (failure.retry_after_ms != 0)
    out += " retry_after_ms=" + std::to_string(failure.retry_after_ms);
  return out + ": " + std::string(view(failure.message));
}

std::string record_fault(const Json& manifest, const sluice_record& record) {
  if (record.struct_size != sizeof(sluice_record)) return "struct_size";
  if (record.type >= manifest["entity_types"].size()) return "type out of range";
  if (record.external_id.size > 1024) return "external id of too many bytes";
  if ((record.flags & ~(SLUICE_RECORD_DELETED | SLUICE_RECORD_WHOLE)) != 0 || record.reserved != 0)
    return "unknown flags";
  const Json& attributes = manifest["entity_types"][record.type]["attributes"];
  std::set<std::uint32_t> seen;
  for (std::uint32_t i = 0; i < record.value_count; ++i) {
    const sluice_value& value = record.values[i];
    if (value.attribute >= attributes.size()) return "attribute out of range";
    if (!seen.insert(value.attribute).second) {
      return "attribute twice: " + attributes[value.attribute]["name"].get<std::string>();
    }
    if (value.kind == SLUICE_JSON && !Json::accept(view(value.text))) {
      return "broken JSON in " + attributes[value.attribute]["name"].get<std::string>();
    }
  }
  return {};
}

}  // namespace sluice::replay
