// The reader of manifests: contract/manifest.hpp.
#include "contract/manifest.hpp"

#include "target.hpp"

using namespace sluice;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Result<contract::Manifest> manifest =
      contract::parse_manifest(as_text(ByteView(data, size)));
  if (!manifest) {
    fuzz::check_error(manifest.error(), "manifest.");
    fuzz::check(manifest.error().message.starts_with("manifest: /"),
                "a refusal begins with the place", manifest.error().message);
    return 0;
  }
  // What others rely on without asking again.
  fuzz::check(!manifest->entity_types.empty() || manifest->streams.empty(),
              "streams have something to put out");
  for (const contract::Stream& stream : manifest->streams) {
    for (const std::string& type : stream.entity_types)
      fuzz::check(manifest->type_index(type).has_value(), "a stream's types exist", type);
  }
  for (const contract::EntityType& type : manifest->entity_types) {
    for (const contract::Relationship& edge : type.relationships) {
      fuzz::check(type.attribute_index(edge.attribute).has_value() &&
                      manifest->type_index(edge.target).has_value(),
                  "a relationship's ends exist", edge.name);
    }
  }
  // The catalogue keeps the document and reads it again after a restart.
  const Result<contract::Manifest> again = contract::parse_manifest(manifest->document.dump());
  fuzz::check(again.has_value(), "what was accepted once is accepted again",
              again ? "" : again.error().message);
  fuzz::check(again->document == manifest->document, "and is the same document");
  return 0;
}
