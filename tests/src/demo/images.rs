//! What the stories' images mean, and what stands for them where nodes are real.

use std::{collections::BTreeMap, str::FromStr};

/// What the names of the stories' images begin with. Only simulated nodes know them.
const SIMULATED: &str = "registry.example/";

/// A meaning of the stories' images: its name, and what stands for it, given the image that stands for `ready`.
type Meaning = (&'static str, fn(&str) -> String);

/// All of them. Without access to these registries `ready` and `crash` are to be named.
const MEANINGS: [Meaning; 4] = [
    // Runs without arguments, and is ready at once.
    ("ready", str::to_owned),
    // Its registry says that there is no such image.
    ("missing", |ready| format!("{}:there-is-no-such-tag", repository(ready))),
    // Its program ends at once, again and again.
    ("crash", |_| "docker.io/library/hello-world:latest".to_owned()),
    // Lacks the program /opt/first/serve.
    ("no-command", str::to_owned),
];

const READY: &str = "registry.k8s.io/pause:3.10";

/// Images by their meaning; where there is none the stories' own names stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images(BTreeMap<&'static str, String>);

impl Images {
    /// Real ones: these, the last of each meaning, and the defaults for the others.
    pub(super) fn real(overrides: &[Override]) -> Self {
        let named = |name| overrides.iter().rfind(|it| it.meaning == name).map(|it| it.image.clone());
        let ready = named("ready").unwrap_or_else(|| READY.to_owned());
        let all =
            MEANINGS.iter().map(|(name, default)| (*name, named(name).unwrap_or_else(|| default(&ready))));
        Self(all.collect())
    }

    /// The text with what stands for the images in it.
    pub fn translate(&self, text: &str) -> String {
        let mut parts = text.split(SIMULATED);
        let mut translated = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_over = |c: char| !c.is_ascii_alphanumeric() && !"-.:".contains(c);
            let (image, rest) = part.split_at(part.find(is_over).unwrap_or(part.len()));
            let meaning = image.split(':').next().unwrap_or_default();
            match self.0.get(meaning) {
                Some(real) => translated.push_str(real),
                None => translated.extend([SIMULATED, image]),
            }
            translated.push_str(rest);
        }
        translated
    }
}

/// An image that the user names for a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Override {
    meaning: &'static str,
    image: String,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, image)) = text.split_once('=') else {
            return Err("it must be MEANING=IMAGE, such as ready=my.registry/pause:3.10".to_owned());
        };
        let Some((meaning, _)) = MEANINGS.iter().find(|(meaning, _)| *meaning == name) else {
            let all = MEANINGS.map(|(meaning, _)| meaning).join(", ");
            return Err(format!("the meaning must be one of {all}, and is {name:?}"));
        };
        // It goes into manifests and into an argument of Helm as it is.
        let fits = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
        let begins = image.starts_with(|c: char| c.is_ascii_alphanumeric());
        let ends = image.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !image.chars().all(fits) || !begins || !ends {
            return Err(format!(
                "the image must be a name such as my.registry:5000/pause:3.10 or pause@sha256:…, and is {image:?}"
            ));
        }
        Ok(Self { meaning, image: image.to_owned() })
    }
}

/// The image's name without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    image.get(last..).and_then(|name| name.find(':')).map_or(image, |colon| image.split_at(last + colon).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(overrides: &[&str]) -> Images {
        Images::real(&overrides.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn each_image_of_the_stories_has_a_real_one_by_default() {
        let told = "--set image=registry.example/crash:2,greeting=bye registry.example/ready:1 \
            registry.example/missing:9\nregistry.example/no-command:1";
        assert_eq!(
            images(&[]).translate(told),
            "--set image=docker.io/library/hello-world:latest,greeting=bye registry.k8s.io/pause:3.10 \
            registry.k8s.io/pause:there-is-no-such-tag\nregistry.k8s.io/pause:3.10"
        );
        assert_eq!(Images::default().translate(told), told);
        assert_eq!(images(&[]).translate("registry.example/slow:1 none"), "registry.example/slow:1 none");
    }

    #[test]
    fn an_image_that_is_named_stands_for_those_that_follow_from_it_too() {
        let all = "registry.example/ready:1 registry.example/missing:1 registry.example/no-command:1";
        for (ready, repository) in [
            ("here:5000/a/pause:3.10", "here:5000/a/pause"),
            ("here:5000/pause", "here:5000/pause"),
            ("pause@sha256:abc", "pause"),
            ("a/pause:1@sha256:abc", "a/pause"),
        ] {
            let images = images(&[&format!("ready={ready}")]);
            assert_eq!(images.translate(all), format!("{ready} {repository}:there-is-no-such-tag {ready}"));
        }
        let images = images(&["missing=a:1", "ready=b", "missing=c:2", "no-command=d"]);
        assert_eq!(images.translate(all), "b c:2 d");
    }

    #[test]
    fn an_image_that_is_none_is_refused_with_the_rule() {
        for (text, rule) in [
            ("pause:3.10", "it must be MEANING=IMAGE"),
            ("", "it must be MEANING=IMAGE"),
            ("readi=pause", "one of ready, missing, crash, no-command, and is \"readi\""),
            ("=pause", "one of ready, missing, crash, no-command, and is \"\""),
            ("ready=", "the image must be a name"),
            ("ready=a b", "the image must be a name"),
            ("ready=a,b=c", "the image must be a name"),
            ("ready=-a", "the image must be a name"),
            ("ready=a:", "the image must be a name"),
            ("ready=a\nb: c", "the image must be a name"),
        ] {
            let refused = text.parse::<Override>().unwrap_err();
            assert!(refused.contains(rule), "{text:?}: {refused}");
        }
    }
}
