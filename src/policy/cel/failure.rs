use kube_cel::cel::ExecutionError;

/// Why a rule has no answer. The interpreter's own words may spell values out, and those of a map in another order each
/// time: they would make two decisions of equal facts differ, and tell of more than a rule asked for.
pub(super) fn words(error: &ExecutionError) -> String {
    let words = match error {
        ExecutionError::FunctionError { function, .. }
            if ["int", "size", "string"].contains(&function.as_str()) =>
        {
            format!("{function} does not take such a value")
        }
        // They name a function, a variable, a key, or a number.
        ExecutionError::DivisionByZero(_)
        | ExecutionError::FunctionError { .. }
        | ExecutionError::IndexOutOfBounds(_)
        | ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::MissingArgumentOrTarget
        | ExecutionError::NoSuchKey(_)
        | ExecutionError::NoSuchOverload
        | ExecutionError::RemainderByZero(_)
        | ExecutionError::UndeclaredReference(_) => error.to_string(),
        ExecutionError::Overflow(operator, ..) => {
            format!("what '{operator}' comes to is larger than there can be")
        }
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("there is no '{operator}' of such values")
        }
        _ => "a value is of another type than is needed".to_owned(),
    };
    words.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{EvaluationError, Expression, FactsContext, Functions};
    use crate::policy::tests::{facts, transient};

    #[test]
    fn why_a_rule_fails_is_said_in_equal_words_without_values() {
        for (source, told) in [
            ("string(refs) == ''", "string does not take such a value"),
            ("int(namespace) == 1", "int does not take such a value"),
            ("size(1) == 1", "size does not take such a value"),
            ("[refs].join('') == ''", "'join': it joins texts"),
            ("refs[0] - refs[1] == 1", "no 'sub' of such values"),
            ("refs.matches('x')", "of another type"),
            ("namespace.labels['none'] == ''", "none"),
            ("1 / 0 == 1", "zero"),
        ] {
            let rule = Expression::compile(source).unwrap();
            let functions = Functions::default();
            let context = FactsContext::new(&functions, &facts(), Some(&transient()), rule.reads());
            let answer = rule.evaluate(&context);
            let Err(EvaluationError::Failed(words)) = answer else {
                panic!("{source}: {answer:?}")
            };
            assert!(words.contains(told), "{source}: {words}");
            assert!(!words.contains("orders") && !words.contains("shop"), "{source}: {words}");
        }
    }
}
