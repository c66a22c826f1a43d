#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fake_stripe {

/// What deleting an object leaves behind.
enum class Deletion {
  kNever,      ///< the control side refuses
  kTombstone,  ///< retrieve answers {id, object, deleted:true}
  kMissing,    ///< retrieve answers 404
  kCancels,    ///< the object stays, with status canceled
  kDetaches    ///< the object stays, without its customer
};

/// A field that holds the id of another object.
struct Reference {
  std::string_view field;         ///< as a filter or in expand[]; "a.b" is b inside a
  std::string_view type;          ///< empty: an object of any type
  std::string_view pointer = {};  ///< where it is in the body, when `field` does not say so
};

/// One kind of object. Adding a resource is a row in catalog.cpp, a text in bodies*.cpp, a
/// generator in seed*.cpp and a template in change.cpp if the control side shall create it.
struct Resource {
  std::string_view type;    ///< name on the control side and in error messages
  std::string_view object;  ///< the JSON discriminator
  std::string_view path;    ///< list path below /v1/; empty: no list of its own
  std::string_view id_prefix;
  std::string_view permission;  ///< what a restricted key needs
  Deletion deletion = Deletion::kNever;
  std::string_view event_created = {};
  std::string_view event_updated = {};  ///< empty: a change as such is told by no event
  std::string_view event_deleted = {};
  bool filters_created = true;                 ///< the list takes created[...]
  std::vector<Reference> filters = {};         ///< equality filters by reference, indexed
  std::vector<std::string_view> scanned = {};  ///< equality filters on plain fields, by scanning
  std::vector<std::string_view> ranged = {};   ///< further fields that take [gt|gte|lt|lte]
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

/// Where a filter or a reference is in a body: "payment[type]" and "a.b" are /a/b.
std::string pointer_of(std::string_view field);
std::string pointer_of(const Reference& reference);

}  // namespace fake_stripe
