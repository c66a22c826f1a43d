// For bench/plugin: no vendor; each step puts out the same records, which it holds ready, so that
// nothing but the boundary takes time. In the C contract itself, without the SDK's help.
#include <sluice/connector.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "boundary_manifest.hpp"

namespace {

struct Record {
  std::string id;
  std::vector<std::string> texts;
  std::vector<sluice_value> values;
};

sluice_bytes bytes_of(std::string_view text) {
  sluice_bytes bytes;
  bytes.data = reinterpret_cast<const std::uint8_t*>(text.data());
  bytes.size = text.size();
  return bytes;
}

/// A number of the flat configuration object.
int number(std::string_view config, std::string_view name) {
  const std::size_t at = config.find(name);
  if (at == std::string_view::npos) return 0;
  return std::atoi(std::string(config.substr(at + name.size() + 1)).c_str());
}

}  // namespace

struct sluice_session {
  std::vector<Record> records;
  int steps = 0;
};

namespace {

Record make_record(int index) {
  Record record;
  record.id = "it_" + std::to_string(1'000'000'000 + index) + "abcdefghijkl";
  record.texts.reserve(20);
  for (std::uint32_t attribute = 0; attribute < 20; ++attribute) {
    sluice_value value{};
    value.attribute = attribute;
    // Every other attribute is a number, as in a payment vendor's objects.
    if (attribute % 2 == 0) {
      value.kind = SLUICE_INT64;
      value.number = index * 31 + static_cast<int>(attribute);
    } else {
      value.kind = SLUICE_STRING;
      record.texts.push_back("a text of the length that many of them have " +
                             std::to_string(attribute));
      value.text = bytes_of(record.texts.back());
    }
    record.values.push_back(value);
  }
  return record;
}

sluice_status open_session(const sluice_host*, const sluice_open_args* args,
                           sluice_session** session) {
  auto* made = new sluice_session();
  const std::string_view config(reinterpret_cast<const char*>(args->config_json.data),
                                args->config_json.size);
  const int count = number(config, "\"records\"");
  made->steps = number(config, "\"steps\"");
  for (int i = 0; i < count; ++i) made->records.push_back(make_record(i));
  *session = made;
  return SLUICE_OK;
}

void close_session(sluice_session* session) { delete session; }

sluice_status step(sluice_session* session, const sluice_input* input, const sluice_sink* sink,
                   std::int64_t*) {
  if (input->kind == SLUICE_INPUT_START) return SLUICE_STEP_MORE;
  for (const Record& record : session->records) {
    sluice_record out{};
    out.struct_size = sizeof(out);
    out.type = manifest::types::item;
    out.external_id = bytes_of(record.id);
    out.value_count = static_cast<std::uint32_t>(record.values.size());
    out.values = record.values.data();
    const sluice_status status = sink->record(sink->ctx, &out);
    if (status < 0) return status;
  }
  return SLUICE_STEP_MORE;
}

}  // namespace

extern "C" {
__attribute__((visibility("hidden"))) extern const std::uint8_t sluice_manifest_begin[];

const sluice_entry_v1 sluice_connector_v1 = {
    sizeof(sluice_entry_v1),
    SLUICE_ABI_MAJOR,
    SLUICE_ABI_MINOR,
    SLUICE_CONNECTOR_REQUIRED_MINOR,
    0,
    0,
    sluice_manifest_begin,
    manifest::kSize,
    &open_session,
    &step,
    &close_session,
    [](sluice_bytes) -> const void* { return nullptr; },
};
}
