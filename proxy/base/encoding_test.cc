#include "proxy/base/encoding.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Encoding, Sha256OfTheStandardVector) {
  EXPECT_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_from_hex(hex(sha256("abc"))), sha256("abc"));
  EXPECT_EQ(sha256_from_hex("zz"), std::nullopt);
}

TEST(Encoding, Base64OfRfc4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(from_base64("Zm9vYmE="), "fooba");
  EXPECT_EQ(from_base64("Zm9v YmE="), std::nullopt);
  EXPECT_EQ(from_base64("Zm9vYm"), std::nullopt);
  EXPECT_EQ(base64url(std::string("\xff\xef\xfe", 3)), "_-_-");
}

TEST(Encoding, ConstantTimeEqualIsEqual) {
  EXPECT_TRUE(constant_time_equal("secret", "secret"));
  EXPECT_FALSE(constant_time_equal("secret", "secreT"));
  EXPECT_FALSE(constant_time_equal("secret", "secrets"));
}

}  // namespace
}  // namespace sluice
