// What nearly every source includes and what is slow to compile.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <boost/asio.hpp>
#include <nlohmann/json.hpp>

// JSON is read and written by half of all sources; its templates are compiled once, in precompiled.cpp.
#define SLUICE_JSON_TEMPLATES(DECLARE)                                                            \
  DECLARE class nlohmann::basic_json<>;                                                           \
  DECLARE class nlohmann::detail::serializer<nlohmann::json>;                                     \
  DECLARE class nlohmann::detail::json_sax_dom_parser<nlohmann::json>;                            \
  DECLARE class nlohmann::detail::json_sax_dom_callback_parser<nlohmann::json>;                   \
  SLUICE_JSON_TEMPLATES_READING(DECLARE, nlohmann::detail::iterator_input_adapter<const char*>)   \
  SLUICE_JSON_TEMPLATES_READING(                                                                  \
      DECLARE, nlohmann::detail::iterator_input_adapter<std::string::const_iterator>)
#define SLUICE_JSON_TEMPLATES_READING(DECLARE, INPUT)                                             \
  DECLARE class nlohmann::detail::lexer<nlohmann::json, INPUT>;                                   \
  DECLARE class nlohmann::detail::parser<nlohmann::json, INPUT>;                                  \
  DECLARE bool nlohmann::detail::parser<nlohmann::json, INPUT>::sax_parse_internal(               \
      nlohmann::detail::json_sax_dom_parser<nlohmann::json>*);                                    \
  DECLARE bool nlohmann::detail::parser<nlohmann::json, INPUT>::sax_parse_internal(               \
      nlohmann::detail::json_sax_dom_callback_parser<nlohmann::json>*);
SLUICE_JSON_TEMPLATES(extern template)
