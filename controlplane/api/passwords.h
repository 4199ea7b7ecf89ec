// A user's password travels in the User's spec but is never kept in it: it goes to oauth::Users.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "controlplane/api/editor.h"
#include "controlplane/oauth/users.h"

namespace sluice::controlplane::api {

// The passwords that an edit wants to set, by user.
class Passwords {
 public:
  // Takes the password out of a User's spec; other kinds stay as they are. A fault if it is none.
  void take(model::Resource& resource, std::vector<model::Fault>& faults);
  bool empty() const { return wanted_.empty(); }
  bool has(const std::string& user) const { return wanted_.count(user) > 0; }

  // For Editor::edit(): sets them in the edit's commit, except those that are the user's already,
  // and forgets the passwords and sessions of users that the edit deletes. Both arguments outlive
  // what is returned.
  static Editor::Extend extend(Passwords& passwords, oauth::Users& users);
  // After the edit.
  void settled(oauth::Users& users) const;

 private:
  std::map<std::string, std::string> wanted_;
  std::vector<std::string> changed_;  // users, by the last extend()
};

}  // namespace sluice::controlplane::api
