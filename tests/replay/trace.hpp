// What a connector puts out, as lines that people compare; and whether it may be put out by the
// manifest.
#pragma once

#include <sluice/connector.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace sluice::replay {

inline std::string_view view(sluice_bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data), static_cast<std::size_t>(bytes.size)};
}

/// "%5B" back to "[" and so on, for reading and for comparing with the case.
std::string decoded(std::string_view target);
std::string time_text(std::int64_t micros);

/// `record customer cus_1 email="a@b" …`. A value whose kind its attribute does not declare is
/// marked with "!".
std::string record_text(const nlohmann::json& manifest, const sluice_record& record);
std::string notice_text(const nlohmann::json& manifest, const sluice_notice& notice);
std::string set_text(const nlohmann::json& manifest, const sluice_complete_set& set);
std::string failure_text(const sluice_failure& failure);

/// What is wrong with it by the contract; empty when nothing is.
std::string record_fault(const nlohmann::json& manifest, const sluice_record& record);

}  // namespace sluice::replay
