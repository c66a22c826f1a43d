#pragma once

#include <string_view>
#include <vector>

namespace fake_stripe {

/// What deleting an object leaves behind.
enum class Deletion {
  kNever,      ///< the control side refuses
  kTombstone,  ///< retrieve answers {id, object, deleted:true}
  kMissing,    ///< retrieve answers 404
  kCancels     ///< the object stays, with status canceled
};

/// A reference that `expand[]` may follow: the field holds an id of `type`.
struct Reference {
  std::string_view field;
  std::string_view type;
};

/// One kind of object. Adding a resource is a row in catalog.cpp and a generator in seed.cpp
/// (and a template in change.cpp if the control side shall create it).
struct Resource {
  std::string_view type;    ///< name on the control side and in error messages
  std::string_view object;  ///< the JSON discriminator
  std::string_view path;    ///< list path below /v1/; empty: no list of its own
  std::string_view id_prefix;
  std::string_view permission;  ///< what a restricted key needs
  Deletion deletion = Deletion::kNever;
  std::string_view event_created = {};
  std::string_view event_updated = {};
  std::string_view event_deleted = {};
  bool filters_created = true;                 ///< the list takes created[...]
  std::vector<Reference> filters = {};         ///< equality filters by reference, indexed
  std::vector<std::string_view> scanned = {};  ///< equality filters on plain fields, by scanning
  std::vector<Reference> references = {};      ///< what expand[] may follow
  std::string_view parent_field = {};          ///< child rows: the field with the parent's id
  std::string_view parent_type = {};
};

/// All resources, in a fixed order.
const std::vector<Resource>& catalog();

/// The row for a type; nullptr when there is none.
const Resource* find_resource(std::string_view type);

/// The row whose list path is `path` (without /v1/); nullptr when there is none.
const Resource* find_resource_by_path(std::string_view path);

/// The name of the list in which a parent of `type` embeds its children ("items", "lines");
/// empty when it embeds none.
std::string_view nested_list_name(std::string_view type);

}  // namespace fake_stripe
